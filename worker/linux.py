"""System calls of Linux that Python has no function for."""

import ctypes
import os
import sys
from functools import cache
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38


def system_call(number: int, *arguments: int | bytes) -> int:
    """Make the system call and return its result. Raises `OSError`.

    Bytes are passed as a pointer to them; the kernel must not write there.
    """
    words: list[ctypes.c_long | ctypes.c_char_p] = []
    for argument in arguments:
        if isinstance(argument, bytes):
            words.append(ctypes.c_char_p(argument))
        else:
            words.append(ctypes.c_long(argument))
    result: int = _libc().syscall(ctypes.c_long(number), *words)
    if result < 0:
        _raise_errno()
    return result


def forbid_inspection() -> None:
    """Keep this user's other processes out of this one's memory, environment and open files.

    See PR_SET_DUMPABLE in prctl(2). It lasts until another program is executed. A process with the
    capability CAP_SYS_PTRACE may still look. Does nothing on other systems than Linux.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def end_with_parent(parent_id: int, signal_number: int) -> None:
    """Get the signal when the parent process ends, whose id is `parent_id`.

    See PR_SET_PDEATHSIG in prctl(2). Raises `ProcessLookupError` if the parent has ended already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_id:
        raise ProcessLookupError(f"the parent process {parent_id} has ended")


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends.

    See PR_SET_CHILD_SUBREAPER in prctl(2).
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Let no program that this process executes have more rights: PR_SET_NO_NEW_PRIVS.

    The kernel demands it before Landlock and seccomp.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up all capabilities, which root's processes have: capset(2). Raises `OSError`."""
    # _LINUX_CAPABILITY_VERSION_3, this process; then twice effective, permitted and inheritable
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    if _libc().capset(header, none) < 0:
        _raise_errno()


def _prctl(option: int, argument: int) -> None:
    words = [ctypes.c_ulong(word) for word in (argument, 0, 0, 0)]
    if _libc().prctl(option, *words) < 0:
        _raise_errno()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
