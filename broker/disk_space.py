"""How much of a disk is left free for everything but slides, and whether a disk is full."""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Of an `OSError` when the disk, or the user's share of it, is full."""
_TRIAL_BYTES: Final = 65536
"""As much as the record of a large order; with less room Redis ends when it is told of one."""
_RESERVED_BYTES = 10**9
_RESERVED_SHARE = 0.05
"""Of a disk on which `_RESERVED_BYTES` would be more than this share of it."""


def reserved_bytes(disk_bytes: int) -> int:
    """Return how many bytes of a disk of this size stay free; with fewer, no slide is fetched."""
    return int(min(_RESERVED_BYTES, _RESERVED_SHARE * disk_bytes))


def full_disk(folders: Iterable[Path]) -> str:
    """Return one sentence that names the first folder whose disk is full, or an empty string.

    A folder that does not exist, or that this process may not write to, says nothing of its disk.
    """
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                written = file.write(bytes(_TRIAL_BYTES))
        except OSError as error:
            if error.errno in DISK_FULL_ERRNOS:
                return f"{os.strerror(error.errno)}: {folder.resolve()}"
            continue
        if written < _TRIAL_BYTES:
            return f"{os.strerror(errno.ENOSPC)}: {folder.resolve()}"
    return ""
