"""The data folder, which holds slides, results and the embedded Redis: for its owner only."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_OTHERS = 0o077
"""The permissions of the group and of everybody."""


def make_private(folder: Path) -> None:
    """Make the folder with mode 0700, unless it is there.

    Raise `OSError`, which names this folder also where one above it cannot be made.
    """
    if folder.is_dir():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


def restrict_new_files(folders: Iterable[Path]) -> None:
    """Let this process and those it starts make no file that is more open than these folders.

    Beside a folder of mode 0700 that is a umask of 077. A storage that machines share may be open
    to a group: then its files are, too. A stricter umask stays.
    """
    granted = 0
    for folder in folders:
        with suppress(OSError):
            granted |= folder.stat().st_mode
    old_mask = os.umask(_OTHERS)
    os.umask(old_mask | _OTHERS & ~granted)


def openness(folder: Path) -> str:
    """Return a sentence where others than its owner may enter the folder, else an empty string."""
    try:
        mode = stat.S_IMODE(folder.stat().st_mode)
    except OSError:
        return ""
    if not mode & 0o077:
        return ""
    path = folder.resolve()
    return (
        f"others than its owner may enter the data folder {path} (mode {mode:04o}); "
        f"where nobody else needs it: chmod 700 {path}"
    )
