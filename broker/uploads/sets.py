"""The sets in the folder of uploads: their manifests and files, and the lock of the folder."""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from broker.uploads.errors import UploadNotFoundError, UploadsLockedError
from broker.uploads.manifest import Manifest, UploadedFile

SET_ID: Final = re.compile(r"[0-9a-f]{32}")
MANIFEST: Final = "upload.json"
_FILES: Final = "files"
_REMOVED: Final = ".removed-"
LOCKED_WITHIN_S: Final = 5.0
"""How long a request waits for the folder; others hold it for milliseconds."""
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class ManifestStamp:
    """What changes with a manifest, since each is a file of its own."""

    inode: int
    modified_ns: int
    size_bytes: int


class UploadSets:
    """What lies in the folder, as `broker.uploads.folder` describes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_manifest(self, set_id: str) -> Manifest | None:
        """Return the manifest of a set; None where there is none, or a damaged one."""
        try:
            return Manifest.from_json((self.folder / set_id / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def write_manifest(self, set_id: str, manifest: Manifest) -> None:
        """Replace the manifest at once and for good."""
        folder = self.folder / set_id
        new = folder / f"{MANIFEST}.new"
        with new.open("wb") as file:
            file.write(manifest.to_json())
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / MANIFEST)

    def size(self, set_id: str, file: UploadedFile) -> int:
        """Return how many bytes of the file are here."""
        try:
            return self.path(set_id, file.name).stat().st_size
        except FileNotFoundError:
            return 0

    def is_being_written(self, set_id: str, file: UploadedFile) -> bool:
        """Return whether a request writes to the file."""
        # One that is whole may be locked too, by whoever reads it as a slide.
        is_whole = self.size(set_id, file) >= file.length
        return not is_whole and _is_locked(self.path(set_id, file.name))

    def used_at(self, set_id: str) -> float:
        """Return when the set was used last (Unix s); what is being written is in use."""
        folder = self.folder / set_id
        times = [0.0]
        for path in (folder / MANIFEST, *(folder / _FILES).rglob("*")):
            with suppress(FileNotFoundError):
                times.append(path.stat().st_mtime)
        if len(times) == 1:
            with suppress(FileNotFoundError):
                times.append(folder.stat().st_mtime)
        return max(times)

    def set_ids(self) -> list[str]:
        """Return the ids of all sets."""
        try:
            return [path.name for path in self.folder.iterdir() if SET_ID.fullmatch(path.name)]
        except FileNotFoundError:
            return []

    def path(self, set_id: str, name: "os.PathLike[str]") -> Path:
        """Return where the file of this name lies."""
        return self.folder / set_id / _FILES / name

    def set_aside(self, set_id: str) -> Path:
        """Take a set out of use, to be removed by the caller. Call it under the lock."""
        removed = Path(tempfile.mkdtemp(dir=self.folder, prefix=_REMOVED))
        (self.folder / set_id).rename(removed / set_id)
        return removed

    def remove_left_behind(self) -> None:
        """Remove what a killed process was removing."""
        with suppress(OSError):
            for path in self.folder.glob(f"{_REMOVED}*"):
                shutil.rmtree(path, ignore_errors=True)

    def came_bytes(self, set_id: str, files: Iterable[UploadedFile]) -> int:
        """Return how many bytes of the files are here, of each at most its length."""
        return sum(min(file.length, self.size(set_id, file)) for file in files)

    def manifest_stamp(self, set_id: str) -> ManifestStamp | None:
        """Return what changes with the manifest of a set; None where there is none."""
        try:
            status = (self.folder / set_id / MANIFEST).stat()
        except FileNotFoundError:
            return None
        return ManifestStamp(status.st_ino, status.st_mtime_ns, status.st_size)

    @contextmanager
    def locked(self, within_s: float = LOCKED_WITHIN_S) -> Iterator[None]:
        """Exclude other changes of manifests and removals.

        Raise `UploadNotFoundError` where there is no folder, `UploadsLockedError` where others
        hold the lock for `within_s`.
        """
        try:
            file = (self.folder / "lock").open("wb")
        except FileNotFoundError:
            raise UploadNotFoundError("") from None
        with file:
            ends_at = time.monotonic() + within_s
            while not _try_lock(file):
                if time.monotonic() >= ends_at:
                    raise UploadsLockedError(within_s)
                time.sleep(_POLL_S)
            yield


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    """Return whether a request writes to the file."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        return not _try_lock(file)
