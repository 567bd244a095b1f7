"""The folder of uploads. Files that were uploaded together lie together, and are one slide:

    SET/upload.json   the manifest; its mtime is the last use of the upload
    SET/files/NAME    what has come so far of each file: its length is the offset to go on from
    lock              held for milliseconds while a manifest is changed or an upload removed
    .removed-NAME     what is being removed

A set has an id of 128 random bits. `ID-0`, `ID-1`, … are its files; each of these names the set
as well as `ID` does. A file is locked (`flock`) by the one request that writes to it.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from broker.data_folder import make_private
from broker.disk_space import reserved_bytes
from broker.errors import OrderError
from broker.uploads.errors import (
    UploadBusyError,
    UploadIncompleteError,
    UploadNotFoundError,
    UploadOffsetError,
    UploadsFullError,
)
from broker.uploads.limits import UploadLimits, check_joins, check_length
from broker.uploads.main_file import main_file
from broker.uploads.manifest import Manifest, UploadedFile
from broker.uploads.sets import MANIFEST, SET_ID, UploadSets
from broker.uploads.usage import UploadUsage
from broker.uploads.writer import UploadWriter

_ID: Final = re.compile(r"(?P<set>[0-9a-f]{32})(-(?P<number>0|[1-9][0-9]{0,5}))?")


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """One file: `id` names it, `set_id` all that were uploaded with it.

    `offset`: how many of `length` bytes are here. `used_at`: the last use (Unix s).
    """

    id: str
    set_id: str
    offset: int
    length: int
    metadata: str
    used_at: float


class Uploads:
    """The uploads in a folder, which threads, processes and machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sets = UploadSets(folder)
        self._usage = UploadUsage(self._sets)

    @property
    def exists(self) -> bool:
        """Whether this machine has the folder."""
        return self._folder.is_dir()

    def create(
        self,
        caller: str,
        length: int,
        filename: str,
        metadata: str,
        limits: UploadLimits,
        set_id: str | None = None,
    ) -> UploadStatus:
        """Begin the upload of a file of `length` bytes, in a set of its own or in `set_id`.

        A file of the set that was given the same name is replaced. Raise `OrderError` for an
        unknown set, a name that is not taken and more than the limits, `UploadsFullError` where
        the disk has no room, `TemporaryError` for too many uploads and where others lock the
        folder.
        """
        make_private(self._folder)
        with self._sets.locked():
            manifest = Manifest(caller)
            self._usage.refresh()
            if set_id is None:
                self._usage.check_count(caller, limits)
                set_id = secrets.token_hex(16)
            else:
                manifest = self._manifest_of(set_id, caller)
            replaced = manifest.given(filename)
            if replaced is None:
                check_joins(manifest, manifest.name_for(filename), set_id)
            manifest = manifest.with_file(filename, length, metadata)
            check_length(manifest.length, limits.max_bytes)
            self._usage.check_files(set_id, manifest, limits)
            self._check_room(length)
            path = self._sets.path(set_id, manifest.files[-1].name)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # In this order the manifest never gives the number of a file to the bytes of another:
            # `has_files` relies on it.
            if replaced is not None:
                path.unlink(missing_ok=True)
            self._sets.write_manifest(set_id, manifest)
            path.touch(exist_ok=False)
        return self._status(set_id, manifest.files[-1])

    def status(self, upload_id: str, caller: str) -> UploadStatus:
        """Return how far a file has come. Raise `UploadNotFoundError`."""
        set_id, file = self._find(upload_id, caller)
        return self._status(set_id, file)

    def open_writer(self, upload_id: str, caller: str, offset: int) -> UploadWriter:
        """Return the file, open to be written from `offset` on by this request alone.

        Raise `OrderError`: `upload_not_found`, `upload_busy`, `upload_offset_wrong`.
        """
        set_id, file = self._find(upload_id, caller)
        path = self._sets.path(set_id, file.name)
        writer = UploadWriter(_open_to_write(path, upload_id), file.length)
        try:
            if not writer.is_whole and not writer.lock():
                raise UploadBusyError(upload_id)
            # By the time it was opened, another file may have taken its place under its name.
            if not self.has_files(set_id, [file]):
                raise UploadNotFoundError(upload_id)
            if writer.offset != offset:
                raise UploadOffsetError(upload_id, offset, writer.offset)
        except OrderError:
            writer.close()
            raise
        return writer

    def delete(self, upload_id: str, caller: str) -> None:
        """Remove a file, or by the set's id all files of a slide.

        Raise `OrderError`: `upload_not_found`, `upload_busy` while a request writes to it.
        """
        with self._sets.locked():
            set_id, number = _parsed(upload_id)
            manifest = self._manifest_of(set_id, caller)
            left = Manifest(manifest.caller)
            if number is not None:
                if manifest.file(number) is None:
                    raise UploadNotFoundError(upload_id)
                left = manifest.without(number)
            for file in manifest.files:
                is_removed = file not in left.files
                if is_removed and self._sets.is_being_written(set_id, file):
                    raise UploadBusyError(upload_id)
            if not left.files:
                removed = self._sets.set_aside(set_id)
            else:
                self._sets.write_manifest(set_id, left)
                removed = None
                for file in set(manifest.files) - set(left.files):
                    self._sets.path(set_id, file.name).unlink(missing_ok=True)
        if removed is not None:
            shutil.rmtree(removed, ignore_errors=True)

    def require_whole(self, upload_id: str, caller: str) -> None:
        """Raise `OrderError` unless the upload can be ordered by this caller; it counts as a use.

        Codes: `upload_not_found`, `upload_incomplete`.
        """
        with self._sets.locked():
            set_id, _ = _parsed(upload_id)
            manifest = self._manifest_of(set_id, caller)
            self._check_whole(set_id, manifest)
            self.touch(set_id)

    def files(self, upload_id: str) -> list[tuple[UploadedFile, Path]]:
        """Return the files of the slide with their paths, by name; what file managers add is none.

        Raise `OrderError`: `upload_not_found`, `upload_incomplete`.
        """
        set_id, _ = _parsed(upload_id)
        manifest = self._manifest_of(set_id)
        self._check_whole(set_id, manifest)
        files = sorted(manifest.slide_files, key=lambda file: file.name)
        return [(file, self._sets.path(set_id, file.name)) for file in files]

    def has_files(self, upload_id: str, files: Iterable[UploadedFile]) -> bool:
        """Return whether the set still has these very files, none of them removed or replaced.

        Then what was opened or linked by their paths before is theirs.
        """
        set_id, _ = _parsed(upload_id)
        manifest = self._sets.read_manifest(set_id)
        return manifest is not None and set(files) <= set(manifest.files)

    def slide_path(self, upload_id: str) -> Path:
        """Return the file of the slide that a reader opens.

        Raise `OrderError`: `upload_not_found`, `upload_incomplete`.
        """
        return main_file([path for _, path in self.files(upload_id)])

    def touch(self, upload_id: str) -> None:
        """Record a use of the upload, where this process may write to it."""
        set_id, _ = _parsed(upload_id)
        with suppress(OSError):
            os.utime(self._folder / set_id / MANIFEST)

    def set_id(self, upload_id: str) -> str:
        """Return the id of the set that an id names. Raise `UploadNotFoundError`."""
        return _parsed(upload_id)[0]

    def remove_left_behind(self) -> None:
        """Remove what a killed process was removing."""
        self._sets.remove_left_behind()

    def unused(self, unused_s: float) -> list[str]:
        """Return the ids of the sets that nobody used for `unused_s`, unfinished ones too."""
        now = time.time()
        return [
            set_id for set_id in self._sets.set_ids() if now - self._sets.used_at(set_id) > unused_s
        ]

    def remove_unused(self, set_id: str, unused_s: float) -> bool:
        """Remove a set, unless it was used meanwhile; return whether it was removed."""
        with self._sets.locked():
            if time.time() - self._sets.used_at(set_id) <= unused_s:
                return False
            removed = self._sets.set_aside(set_id)
        shutil.rmtree(removed, ignore_errors=True)
        return True

    def _find(self, upload_id: str, caller: str) -> tuple[str, UploadedFile]:
        """Return the set and the file. A set of one file is that file."""
        set_id, number = _parsed(upload_id)
        manifest = self._manifest_of(set_id, caller)
        file = None
        if number is not None:
            file = manifest.file(number)
        elif len(manifest.files) == 1:
            file = manifest.files[0]
        if file is None:
            raise UploadNotFoundError(upload_id)
        return set_id, file

    def _manifest_of(self, set_id: str, caller: str | None = None) -> Manifest:
        """Return the manifest of a set; with `caller`, of one that is the caller's own."""
        manifest = None
        if SET_ID.fullmatch(set_id):
            manifest = self._sets.read_manifest(set_id)
        if manifest is None or (caller is not None and manifest.caller != caller):
            raise UploadNotFoundError(set_id)
        return manifest

    def _status(self, set_id: str, file: UploadedFile) -> UploadStatus:
        return UploadStatus(
            id=f"{set_id}-{file.number}",
            set_id=set_id,
            offset=self._sets.size(set_id, file),
            length=file.length,
            metadata=file.metadata,
            used_at=self._sets.used_at(set_id),
        )

    def _check_whole(self, set_id: str, manifest: Manifest) -> None:
        came = self._sets.came_bytes(set_id, manifest.files)
        if came < manifest.length:
            raise UploadIncompleteError(set_id, came, manifest.length)

    def _check_room(self, length: int) -> None:
        """Raise `UploadsFullError` unless the disk holds this and all that was begun before."""
        disk = shutil.disk_usage(self._folder)
        free_bytes = disk.free - reserved_bytes(disk.total) - self._usage.promised_bytes()
        if length > free_bytes:
            raise UploadsFullError(
                f"no room for an upload of {length} bytes; {max(0, free_bytes)} can be taken"
            )


def _parsed(upload_id: str) -> tuple[str, int | None]:
    """Return the set and the number of the file. Raise `UploadNotFoundError`."""
    match = _ID.fullmatch(upload_id)
    if match is None:
        raise UploadNotFoundError(upload_id)
    if match["number"] is None:
        return match["set"], None
    return match["set"], int(match["number"])


def _open_to_write(path: Path, upload_id: str) -> BinaryIO:
    try:
        return path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise UploadNotFoundError(upload_id) from None
