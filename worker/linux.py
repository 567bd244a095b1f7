"""System calls of Linux that Python has no function for."""

import ctypes
import os
import struct
import sys
from functools import cache
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38

# Since Linux 5.2 and 5.12; the numbers are the same on all architectures.
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_NOSUID: Final = 1 << 1
MS_NODEV: Final = 1 << 2
MS_NOEXEC: Final = 1 << 3
MS_REC: Final = 1 << 14
MS_PRIVATE: Final = 1 << 18

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4


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


def unshare(flags: int) -> None:
    """Leave namespaces of the kernel for new ones: unshare(2). Raises `OSError`.

    Python has this function from 3.12 on.
    """
    if _libc().unshare(ctypes.c_int(flags)) < 0:
        _raise_errno()


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Attach a file system, or change how one is attached: mount(2). Raises `OSError`."""
    words = [word.encode() for word in (source, target, kind)]
    if _libc().mount(*words, ctypes.c_ulong(flags), options.encode()) < 0:
        _raise_errno()


def copied_tree(path: str) -> int:
    """Return a descriptor of the file or folder as a mount of its own, not attached anywhere.

    What is mounted below it is part of it. See open_tree(2), since Linux 5.2. Raises `OSError`.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return system_call(_OPEN_TREE, _AT_FDCWD, path.encode(), flags)


def attach_tree(tree: int, target: str) -> None:
    """Attach what `copied_tree` returned over `target`: move_mount(2). Raises `OSError`."""
    system_call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH)


def restrict_tree(
    path: str, attributes: int, *, tree: int = _AT_FDCWD, recursive: bool = True
) -> None:
    """Set attributes of all that is mounted at `path`, and of what is mounted below it.

    An empty path is the tree itself. See mount_setattr(2), since Linux 5.12. Raises `OSError`.
    """
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    words = struct.pack("=QQQQ", attributes, 0, 0, 0)
    flags = 0
    if recursive:
        flags |= _AT_RECURSIVE
    if not path:
        flags |= _AT_EMPTY_PATH
    system_call(_MOUNT_SETATTR, tree, path.encode(), flags, words, len(words))


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
