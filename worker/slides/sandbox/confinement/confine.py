"""Takes from a decoder process what decoding does not need, and says what this kernel can take.

Where a kernel or an architecture lacks a part, the rest is applied; `slidelane doctor` names it.
"""

import platform
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker import linux
from worker.slides.sandbox.confinement import landlock, seccomp

_OUR_PACKAGES: Final = ("broker", "worker")
_ROOT: Final = Path(__file__).parents[4]
_PYTHON_PATHS: Final = ("stdlib", "platstdlib", "purelib", "platlib")
_SYSTEM_LIBRARIES: Final = tuple(
    Path(name) for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
)
_LINKER_CACHE: Final = Path("/etc/ld.so.cache")


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the kernel of this machine can keep decoder processes from.

    `landlock_abi`: the version of Landlock, 0 for none. `has_seccomp`: whether it filters system
    calls.
    """

    landlock_abi: int
    has_seccomp: bool

    @property
    def is_complete(self) -> bool:
        """Whether decoder processes can neither open other files nor reach anything else."""
        return self.landlock_abi > 0 and self.has_seccomp

    def __str__(self) -> str:
        files = "no Landlock (decoders can read all files of this user)"
        if self.landlock_abi:
            files = f"Landlock ABI {self.landlock_abi} (decoders read their slide and libraries)"
        calls = f"no seccomp filter for {platform.machine()} (no system call is refused)"
        if self.has_seccomp:
            calls = "seccomp (no network, no programs, no writing, no other process)"
        return f"{files}, {calls}"


def granted_confinement() -> Confinement:
    """Return what this machine, and the container that this process is in, grants."""
    return Confinement(landlock.abi(), seccomp.is_available())


def confine(readable: Iterable[Path], max_bytes: int, parent_id: int) -> None:
    """Let this process read these files and folders, compute, and use what is open; nothing else.

    It takes at most `max_bytes` of memory and is killed when its parent ends. To be called before
    it has threads. Raises `OSError`.
    """
    _limit_resources(max_bytes)
    if sys.platform != "linux":
        return
    linux.end_with_parent(parent_id, signal.SIGKILL)
    linux.drop_capabilities()
    linux.forbid_new_privileges()
    if landlock.abi():
        landlock.restrict_to(readable)
    else:  # Landlock keeps other decoder processes out, too
        linux.forbid_inspection()
    seccomp.restrict_calls()


def _limit_resources(max_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold a patient's tissue
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit counts reserved memory, or has no effect
        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))


def libraries() -> list[Path]:
    """Return the folders from which Python loads a module, or a module its library, when used."""
    python = [Path(sysconfig.get_path(name)) for name in _PYTHON_PATHS]
    ours = [_ROOT / name for name in _OUR_PACKAGES]
    return [*python, *ours, *_SYSTEM_LIBRARIES, _LINKER_CACHE]
