"""Small files of this user, which let a command that is repeated go on where it was."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_LIFE_S: Final = 86400.0
"""What is older is of no use: the service forgets keys and removes unused uploads by then."""


def user_folder(name: str) -> Path:
    """Return the folder of this user: below XDG_STATE_HOME, `~/.local/state` by default."""
    state = os.environ.get("XDG_STATE_HOME")
    if state and Path(state).is_absolute():
        return Path(state) / "slidelane" / name
    with suppress(RuntimeError):  # nobody knows where the user's folder is
        return Path.home() / ".local" / "state" / "slidelane" / name
    return Path(os.devnull)


class UserState:
    """Texts by name in one folder. Where no folder can be written, none is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> str | None:
        """Return a text that was written within the last day, None without one."""
        file = self._folder / name
        with suppress(OSError, ValueError):
            if time.time() - file.stat().st_mtime < _LIFE_S:
                return file.read_text()
        return None

    def write(self, name: str, text: str) -> None:
        """Keep a text, whole or not at all."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._folder / name
            new = file.with_suffix(f".{os.getpid()}")
            new.write_text(text)
            new.replace(file)

    def remove(self, name: str) -> None:
        """Forget a text."""
        with suppress(OSError):
            (self._folder / name).unlink()
