"""Uploads of this user that were begun, so that a command that is repeated goes on with them."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from slidelane.commands.upload.slide_files import LocalFile
from slidelane.commands.user_state import UserState, user_folder


class PendingUploads:
    """The paths of uploads, by what is sent where. Where no folder can be written, none is kept."""

    def __init__(self, folder: Path) -> None:
        self._state = UserState(folder)

    @classmethod
    def of_user(cls) -> "PendingUploads":
        """Return those of this user."""
        return cls(user_folder("uploads"))

    def known(self, url: str, files: Sequence[LocalFile]) -> dict[str, str]:
        """Return the paths of the uploads that were begun, by the names of the files."""
        text = self._state.read(_name(url, files))
        if text is None:
            return {}
        with suppress(ValueError):
            return {str(name): str(path) for name, path in json.loads(text).items()}
        return {}

    def remember(self, url: str, files: Sequence[LocalFile], paths: dict[str, str]) -> None:
        """Keep the paths of the uploads, by the names of the files."""
        self._state.write(_name(url, files), json.dumps(paths))


def _name(url: str, files: Sequence[LocalFile]) -> str:
    # A digest: names of slides may name patients. A file that has changed is another upload.
    lines = [f"{one.path.absolute()}\0{one.size_bytes}\0{one.modified_ns}" for one in files]
    text = "\n".join([url, *lines])
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
