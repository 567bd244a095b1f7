"""The sets in the folder of uploads: their manifests and files, and the lock of the folder."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from broker.uploads.errors import UploadNotFoundError
from broker.uploads.manifest import Manifest, UploadedFile

SET_ID: Final = re.compile(r"[0-9a-f]{32}")
MANIFEST: Final = "upload.json"
_FILES: Final = "files"
_REMOVED: Final = ".removed-"


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

    def promised_bytes(self) -> int:
        """Return how many bytes of the uploads that were begun are still to come."""
        promised = 0
        for set_id in self.set_ids():
            manifest = self.read_manifest(set_id)
            if manifest is not None:
                came = sum(self.size(set_id, file) for file in manifest.files)
                promised += max(0, manifest.length - came)
        return promised

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other changes of manifests and removals. Raise `UploadNotFoundError`."""
        try:
            file = (self.folder / "lock").open("wb")
        except FileNotFoundError:
            raise UploadNotFoundError("") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_locked(path: Path) -> bool:
    """Return whether a request writes to the file."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
