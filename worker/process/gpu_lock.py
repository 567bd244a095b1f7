"""Which GPU is a worker's own where its machine has several: taken at the start, dropped by the kernel at its end.

Owns the locks in `broker.data`, which containers of one machine share. Must not load torch: a worker's first process
stays free of CUDA.
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
_ASK = """
import json, sys
from worker.algorithms.torch_device.device import names, resolve
resolve(sys.argv[1])
print(json.dumps(names()))
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """A GPU and the lock that keeps it. `sharers` are the workers that had it already."""

    gpu: str
    sharers: int
    lock: IO[bytes]

    def let_go(self) -> None:
        """Another worker may have it."""
        self.lock.close()


def take(device: str, data: Path) -> Held | None:
    """Make one GPU the only one that this process and its children see; None where there is nothing to choose.

    `cuda:N` is the operator's own choice. Raises `ConfigError` for a `device` that is not there.
    """
    if device == "cpu" or (device == "auto" and not any(_DEVICES.glob("nvidia[0-9]*"))):
        return None
    gpus = visible(device)
    if len(gpus) < 2 or device.startswith("cuda:"):
        return None
    held = claim(data / "gpus", gpus)
    os.environ[_VISIBLE] = held.gpu
    if held.sharers:
        _log.warning(
            "every GPU has a worker already: %s is shared by %d", held.gpu, held.sharers + 1
        )
    return held


def visible(device: str) -> list[str]:
    """The GPUs of this machine by their names, once `device` is known to be there. Raises `ConfigError`."""
    asked = [sys.executable, "-c", _ASK, device]
    tried = subprocess.run(asked, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise ConfigError(tried.stderr.strip().rpartition("\n")[2].partition(": ")[2])
    return [str(name) for name in json.loads(tried.stdout)]


def claim(folder: Path, gpus: Sequence[str]) -> Held:
    """The first GPU that nobody holds; where all are held, one that the fewest share."""
    folder.mkdir(parents=True, exist_ok=True)
    for sharers in count():
        for gpu in gpus:
            lock = (folder / f"{gpu}.{sharers}").open("ab")
            if try_lock(lock):
                return Held(gpu, sharers, lock)
            lock.close()
    raise AssertionError  # `count` has no end
