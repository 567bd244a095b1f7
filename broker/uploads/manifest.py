"""What is known of the files that were uploaded together, as one JSON file holds it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Self


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file of a set. `number`: its own in the set, never used again.

    `name`: where it lies below the set's `files/`. `length`: of the whole file, in bytes.
    `metadata`: the Upload-Metadata with which it was created, as it was sent.
    """

    number: int
    name: PurePosixPath
    length: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a set. `caller`: the name of the API key that they came with.

    `next_number`: of the next file that comes.
    """

    caller: str
    next_number: int = 0
    files: tuple[UploadedFile, ...] = ()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the manifest. Raise `ValueError`, `KeyError` or `TypeError` for other text."""
        stored = json.loads(text)
        files = tuple(_file_of(entry) for entry in stored["files"])
        return cls(str(stored["caller"]), int(stored["next"]), files)

    def to_json(self) -> bytes:
        """Return the manifest as it is stored."""
        files = [
            {
                "number": one.number,
                "name": str(one.name),
                "length": one.length,
                "meta": one.metadata,
            }
            for one in self.files
        ]
        return json.dumps(
            {"caller": self.caller, "next": self.next_number, "files": files}
        ).encode()

    @property
    def length(self) -> int:
        """The bytes of all files, once they are whole."""
        return sum(file.length for file in self.files)

    def file(self, number: int) -> UploadedFile | None:
        """Return the file of this number, or None."""
        for file in self.files:
            if file.number == number:
                return file
        return None

    def named(self, name: PurePosixPath) -> UploadedFile | None:
        """Return the file of this name, or None."""
        for file in self.files:
            if file.name == name:
                return file
        return None

    def with_file(self, name: PurePosixPath, length: int, metadata: str) -> Self:
        """Return the manifest with one file more, in place of any other of its name."""
        kept = tuple(file for file in self.files if file.name != name)
        new = UploadedFile(self.next_number, name, length, metadata)
        return replace(self, next_number=self.next_number + 1, files=(*kept, new))

    def without(self, number: int) -> Self:
        """Return the manifest without the file of this number."""
        return replace(self, files=tuple(one for one in self.files if one.number != number))


def _file_of(entry: Mapping[str, object]) -> UploadedFile:
    length = entry["length"]
    number = entry["number"]
    if not isinstance(length, int) or not isinstance(number, int):
        raise TypeError("length and number are integers")
    return UploadedFile(number, PurePosixPath(str(entry["name"])), length, str(entry["meta"]))
