"""How large and how busy this machine is: cores, memory, and the disk of a folder."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/proc/meminfo")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that a process runs on, not what a container leaves it; None = not known."""

    cores: int
    load_1m: float | None
    """Processes that want a core, on average over the last minute."""
    memory_bytes: int | None
    memory_free_bytes: int | None
    """What could be taken without swapping."""
    disk_bytes: int | None
    disk_free_bytes: int | None


def machine_with(folder: Path) -> Machine:
    """Return this machine as it is now, with the disk of a folder."""
    load_1m = None
    with suppress(OSError):
        load_1m = round(os.getloadavg()[0], 2)
    memory = _memory()
    disk_bytes = None
    disk_free_bytes = None
    with suppress(OSError):
        usage = shutil.disk_usage(folder)
        disk_bytes = usage.total
        disk_free_bytes = usage.free
    return Machine(
        os.cpu_count() or 1,
        load_1m,
        memory.get("MemTotal"),
        memory.get("MemAvailable"),
        disk_bytes,
        disk_free_bytes,
    )


def _memory() -> dict[str, int]:
    """Return the lines of /proc/meminfo in bytes; nothing where there is no such file."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for line in _MEMORY.read_text().splitlines():
            name, _, value = line.partition(":")
            found[name] = int(value.split()[0]) * _KIB
    return found
