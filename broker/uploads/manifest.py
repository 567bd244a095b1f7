"""What is known of the files that were uploaded together, as one JSON file holds it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Self

from broker.uploads.litter import is_litter
from broker.uploads.names import distinct_name, safe_name


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file of a set. `number`: its own in the set, never used again.

    `name`: where it lies below the set's `files/`. `length`: of the whole file, in bytes.
    `metadata`: the Upload-Metadata with which it was created, as it was sent. `given_digest`: of
    the name that the caller gave, which may differ from `name`. `is_litter`: whether that is a name
    of file managers.
    """

    number: int
    name: PurePosixPath
    length: int
    metadata: str
    given_digest: str
    is_litter: bool


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
                "given": one.given_digest,
                "litter": one.is_litter,
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

    @property
    def slide_files(self) -> tuple[UploadedFile, ...]:
        """The files that can be the slide: without litter, unless nothing else was sent."""
        found = tuple(file for file in self.files if not file.is_litter)
        if not found:
            return self.files
        return found

    def file(self, number: int) -> UploadedFile | None:
        """Return the file of this number, or None."""
        for file in self.files:
            if file.number == number:
                return file
        return None

    def given(self, given: str) -> UploadedFile | None:
        """Return the file of the name that a caller gives, or None."""
        digest = _digest(given)
        for file in self.files:
            if file.given_digest == digest:
                return file
        return None

    def name_for(self, given: str) -> PurePosixPath:
        """Return the name for a file: that of the file which it replaces, or one of its own.

        Raise `OrderError` for a name that is not taken.
        """
        replaced = self.given(given)
        if replaced is not None:
            return replaced.name
        name = safe_name(given)
        for file in self.files:
            # The file system may not tell small letters from capital ones.
            if str(file.name).casefold() == str(name).casefold():
                return distinct_name(name, given)
        return name

    def with_file(self, given: str, length: int, metadata: str) -> Self:
        """Return the manifest with one file more, in place of any other of the given name.

        Raise `OrderError` for a name that is not taken.
        """
        digest = _digest(given)
        name = self.name_for(given)
        kept = tuple(file for file in self.files if file.given_digest != digest)
        # Of the given name: a safe one is not hidden, so that it does not tell.
        new = UploadedFile(self.next_number, name, length, metadata, digest, is_litter(given))
        return replace(self, next_number=self.next_number + 1, files=(*kept, new))

    def without(self, number: int) -> Self:
        """Return the manifest without the file of this number."""
        return replace(self, files=tuple(one for one in self.files if one.number != number))


def _file_of(entry: Mapping[str, object]) -> UploadedFile:
    length = entry["length"]
    number = entry["number"]
    if not isinstance(length, int) or not isinstance(number, int):
        raise TypeError("length and number are integers")
    return UploadedFile(
        number,
        PurePosixPath(str(entry["name"])),
        length,
        str(entry["meta"]),
        str(entry.get("given", "")),
        bool(entry.get("litter", False)),
    )


def _digest(given: str) -> str:
    return hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()
