"""Give each worker a GPU of its own on a machine that has several.

The locks lie in `broker.data`, which the containers of one machine share; the kernel drops a lock
when its process ends. Torch is loaded in another process: a worker's parent stays free of CUDA.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from broker.settings.config import ConfigError
from worker.disk import try_lock

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")
_LIST_GPUS = """
import json, sys
from worker.algorithms.torch_device.device import names, resolve
resolve(sys.argv[1])
print(json.dumps(names()))
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuLock:
    """A GPU and the lock on it. `sharers`: how many other workers had it already."""

    gpu: str
    sharers: int
    file: IO[bytes]

    def release(self) -> None:
        """Make the GPU available to other workers."""
        self.file.close()


def reserve_gpu(device: str, data: Path) -> GpuLock | None:
    """Make one GPU the only one that this process and its children see.

    Return None if there is no choice: no GPU, a single one, or `cuda:N` chosen by the operator.
    Raise `ConfigError` if `device` does not exist.
    """
    if device == "cpu":
        return None
    if device == "auto" and not any(_DEVICES.glob("nvidia[0-9]*")):
        return None
    gpus = visible_gpus(device)
    if len(gpus) < 2 or device.startswith("cuda:"):
        return None
    lock = lock_least_shared(data / "gpus", gpus)
    os.environ[_VISIBLE] = lock.gpu
    if lock.sharers:
        _log.warning(
            "every GPU has a worker already: %s is shared by %d", lock.gpu, lock.sharers + 1
        )
    return lock


def visible_gpus(device: str) -> list[str]:
    """Return the names of this machine's GPUs. Raise `ConfigError` if `device` does not exist."""
    command = [sys.executable, "-c", _LIST_GPUS, device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last_line = done.stderr.strip().rpartition("\n")[2]
        raise ConfigError(last_line.partition(": ")[2])
    return [str(name) for name in json.loads(done.stdout)]


def lock_least_shared(folder: Path, gpus: Sequence[str]) -> GpuLock:
    """Lock the first GPU that no worker holds; if all are held, one with the fewest workers."""
    folder.mkdir(parents=True, exist_ok=True)
    for sharers in count():
        for gpu in gpus:
            file = (folder / f"{gpu}.{sharers}").open("ab")
            if try_lock(file):
                return GpuLock(gpu, sharers, file)
            file.close()
    raise AssertionError  # `count` has no end
