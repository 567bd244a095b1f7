"""What a worker tells of its machine: cores, memory, disk, and the GPUs that it may use.

It is looked at in a thread of its own: asking the driver for the GPUs may take a second, and the
heartbeat must not wait for that.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any, Final

from broker.machine import machine_with
from worker.process.heartbeat import Heartbeat

_EVERY_S: Final = 10.0
_WITHIN_S: Final = 10.0
_MIB: Final = 2**20
_MOST_GPUS: Final = 64
_ASK_DRIVER: Final = (
    "nvidia-smi",
    "--query-gpu=uuid,name,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)


class MachineWatch:
    """Looks at the machine every ten seconds, for the heartbeat."""

    def __init__(self, heartbeat: Heartbeat, data: Path, *, has_gpus: bool) -> None:
        """`has_gpus`: the worker runs algorithms, and so may use a GPU."""
        self._heartbeat = heartbeat
        self._data = data
        self._has_gpus = has_gpus

    def run(self, stopped: Event) -> None:
        """Look until `stopped` is set."""
        while True:
            self._heartbeat.machine = self.look()
            if stopped.wait(_EVERY_S):
                return

    def look(self) -> dict[str, Any]:
        """Return the machine as it is now."""
        gpus: list[dict[str, Any]] = []
        if self._has_gpus:
            gpus = _gpus()
        return {**asdict(machine_with(self._data)), "gpus": gpus}


def _gpus() -> list[dict[str, Any]]:
    """Return the GPUs that this process may use; nothing where no driver answers."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return []
    try:
        answer = subprocess.run(
            _ASK_DRIVER, capture_output=True, text=True, timeout=_WITHIN_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return gpus_in(answer.stdout, os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def gpus_in(answer: str, visible: str) -> list[dict[str, Any]]:
    """Return the GPUs of an answer of nvidia-smi.

    `visible`: CUDA_VISIBLE_DEVICES. Names in it choose GPUs, numbers and nothing do not.
    """
    names = [name for name in visible.split(",") if name.startswith("GPU-")]
    found = []
    for line in answer.splitlines()[:_MOST_GPUS]:
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and (not names or parts[0] in names):
            found.append(_gpu(parts))
    return found


def _gpu(parts: Sequence[str]) -> dict[str, Any]:
    identifier, name, total_mib, free_mib = parts
    return {
        "id": identifier,
        "name": name,
        "memory_bytes": _bytes(total_mib),
        "memory_free_bytes": _bytes(free_mib),
    }


def _bytes(mib: str) -> int | None:
    if not mib.isdecimal():
        return None  # "[N/A]" where the GPU shares the memory of the machine
    return int(mib) * _MIB
