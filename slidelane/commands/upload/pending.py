"""Uploads of this user that were begun, so that a command that is repeated goes on with them."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from slidelane.commands.upload.slide_files import LocalFile

_LIFE_S: Final = 86400.0
"""The service removes uploads that were not used for so long, unless it is set up otherwise."""


class PendingUploads:
    """The paths of uploads, by what is sent where. Where no folder can be written, none is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> "PendingUploads":
        """Return those of this user: below XDG_STATE_HOME, `~/.local/state` by default."""
        state = os.environ.get("XDG_STATE_HOME")
        if state and Path(state).is_absolute():
            return cls(Path(state) / "slidelane" / "uploads")
        with suppress(RuntimeError):  # nobody knows where the user's folder is
            return cls(Path.home() / ".local" / "state" / "slidelane" / "uploads")
        return cls(Path(os.devnull))

    def known(self, url: str, files: Sequence[LocalFile]) -> dict[str, str]:
        """Return the paths of the uploads that were begun, by the names of the files."""
        file = self._file(url, files)
        with suppress(OSError, ValueError):
            if time.time() - file.stat().st_mtime < _LIFE_S:
                stored = json.loads(file.read_text())
                return {str(name): str(path) for name, path in stored.items()}
        return {}

    def remember(self, url: str, files: Sequence[LocalFile], paths: dict[str, str]) -> None:
        """Keep the paths of the uploads, by the names of the files."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._file(url, files)
            new = file.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(paths))
            new.replace(file)

    def _file(self, url: str, files: Sequence[LocalFile]) -> Path:
        # A digest: names of slides may name patients. A file that has changed is another upload.
        lines = [f"{one.path.absolute()}\0{one.size_bytes}\0{one.modified_ns}" for one in files]
        text = "\n".join([url, *lines])
        return self._folder / hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
