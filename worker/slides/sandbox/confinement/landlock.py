"""Landlock: this process reads some files and folders, and opens nothing else. See landlock(7)."""

import os
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from worker.linux import system_call

# The numbers are the same on all architectures.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION: return the ABI instead of a ruleset
_PATH_BENEATH: Final = 1  # LANDLOCK_RULE_PATH_BENEATH

_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
# Rights over files by the ABI that introduced them. All are refused but those of a rule:
# 1: execute, write, read, list, remove, make files of each kind; 2: link and rename to another
# folder (REFER); 3: truncate; 5: ioctl on devices.
_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NETWORK_ABI: Final = 4
_NETWORK_RIGHTS: Final = 0b11  # bind and connect TCP
_SCOPE_ABI: Final = 6
_SCOPES: Final = 0b11  # abstract sockets of other processes, signals to other processes


def abi() -> int:
    """Return the version of Landlock's interface that the kernel has, 0 where it has none."""
    if sys.platform != "linux":
        return 0
    try:
        return system_call(_CREATE_RULESET, 0, 0, _VERSION)
    except OSError:
        return 0


def restrict_to(paths: Iterable[Path]) -> None:
    """Let this process read these files and what is below these folders, and nothing else.

    What is open stays open. From ABI 4 on it also reaches no TCP address, and from ABI 6 on no
    abstract socket and no signal of it reaches a process outside. Only threads that start later are
    restricted, too. A path that cannot be opened is left out. Does nothing where the kernel has no
    Landlock. Raises `OSError`.
    """
    version = abi()
    if not version:
        return
    rights = sum(bits for since, bits in _FILE_RIGHTS.items() if version >= since)
    ruleset = _create_ruleset(version, rights)
    for path in paths:
        _allow_reading(ruleset, path)
    system_call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _create_ruleset(version: int, file_rights: int) -> int:
    """Return the descriptor of a ruleset that refuses all that this version can refuse."""
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped
    attributes = struct.pack("=Q", file_rights)
    if version >= _NETWORK_ABI:
        attributes += struct.pack("=Q", _NETWORK_RIGHTS)
    if version >= _SCOPE_ABI:
        attributes += struct.pack("=Q", _SCOPES)
    return system_call(_CREATE_RULESET, attributes, len(attributes), 0)


def _allow_reading(ruleset: int, path: Path) -> None:
    """Add a rule for a file, or for all that is below a folder, if there is such a one."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            rights |= _READ_DIR
        # struct landlock_path_beneath_attr, packed: allowed_access, parent_fd
        rule = struct.pack("=Qi", rights, fd)
        system_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
