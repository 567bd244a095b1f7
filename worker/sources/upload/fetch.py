"""A slide that a caller has sent in: one file, a zip archive, or the files of one slide.

It goes into the slide cache, as a hard link where both are on one disk and as a copy elsewhere. So
the upload may expire while the slide is in use.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from broker.errors import OrderError
from broker.uploads import Uploads
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.sources import companion_files
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import DownloadedFile
from worker.sources.errors import InputTooLargeError, InputUnreachableError
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.zip import unzip
from worker.sources.zip.fetch import files_digest, put_into_cache
from worker.sources.zip.find_slide import Holder, find_slide

_HOLDER: Final = Holder("the upload", "send")
_HEAD_BYTES: Final = 1024
_READ_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class _SentFile:
    """A file of the upload. `name`: as the caller gave it. `head`: its first 1024 bytes."""

    name: PurePosixPath
    path: Path
    size_bytes: int
    head: bytes


@dataclass(frozen=True, slots=True)
class UploadedSlide:
    """A slide in the folder of uploads.

    Its files never change once they are whole, so they are hashed once, however often it is
    ordered. `limit_bytes`: the most that the slide may take, `cache_bytes`: that a zip archive and
    its slide may take together.
    """

    set_id: str
    files: tuple[_SentFile, ...]
    limit_bytes: int
    cache_bytes: int
    progress: Progress
    fresh_s: float = math.inf

    @property
    def cache_key(self) -> str:
        """The id of the set, hashed."""
        return sha256_hex(f"upload\n{self.set_id}")

    @property
    def fingerprint(self) -> str:
        """Names and lengths of the files, hashed; a file may be added to the set or replaced."""
        lines = [
            f"{file.name}\0{file.path.stat().st_ino}\0{file.size_bytes}" for file in self.files
        ]
        return sha256_hex("\n".join(lines))

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Put the slide into the cache, pinned until `pins` closes.

        Raise `NotASlideError`, `UnreadableSlideError`, `InputTooLargeError`, `SlideCacheFullError`
        and `StopWork`.
        """
        del known_etag
        return Downloaded(self._put(cache, pins), "")

    def _put(self, cache: SlideCache, pins: ExitStack) -> LocalSlide:
        if len(self.files) == 1:
            file = self.files[0]
            if unzip.is_zip(file.head):
                return self._put_zip(file, cache, pins)
            return self._put_single_file(file, cache, pins)
        found = find_slide(self.files, _HOLDER)
        by_name = {file.name: file for file in self.files}
        files = [by_name[name] for name in found.names]
        if found.main and len(files) == 1:
            return self._put_single_file(files[0], cache, pins)
        with cache.file_set() as file_set:
            file_set.reserve(sum(file.size_bytes for file in files))
            taken = self._take(files, found.main, file_set)
            if not found.main:
                return instances.put_into_cache(taken, file_set, cache, pins, self.progress)
            for one in taken:
                companion_files.check_stays_in_folder(one.path)
            for name, path in companion_files.expected_names(taken[0].path).items():
                (file_set.folder / name).symlink_to(path.name)
            digest = files_digest(taken, file_set.folder)
            return pins.enter_context(cache.put_file_set(file_set, found.main.name, digest))

    def _put_zip(self, file: _SentFile, cache: SlideCache, pins: ExitStack) -> LocalSlide:
        limit_bytes = min(self.limit_bytes, self.cache_bytes - file.size_bytes)
        with unzip.open_archive(file.path) as archive:
            return put_into_cache(archive, cache, pins, limit_bytes, self.progress)

    def _put_single_file(self, file: _SentFile, cache: SlideCache, pins: ExitStack) -> LocalSlide:
        suffix = signatures.suffix(file.head, file.name.name)
        if cache.can_link(file.path):
            digest = self._digest(file, 0)
            return pins.enter_context(cache.put_link(file.path, suffix, digest))
        with cache.partial_file() as part:
            part.reserve(file.size_bytes)
            self._copy(file, part, 0)
            return pins.enter_context(cache.put(part, suffix))

    def _take(
        self, files: Sequence[_SentFile], main: PurePosixPath | None, file_set: FileSet
    ) -> list[DownloadedFile]:
        """Link or copy the files into the set.

        A DICOM series is named by number, other files as the main file expects them.
        """
        taken = []
        done_bytes = 0
        for number, file in enumerate(files):
            name = f"file {number}"
            if main:
                name = str(file.name.relative_to(main.parent))
            target = file_set.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                os.link(file.path, target)
            if target.exists():
                digest = self._digest(file, done_bytes)
            else:
                with file_set.partial_file(name, self.limit_bytes) as part:
                    self._copy(file, part, done_bytes)
                    digest = part.digest
            taken.append(DownloadedFile(str(file.name), target, digest))
            done_bytes += file.size_bytes
        return taken

    def _digest(self, file: _SentFile, done_bytes: int) -> str:
        """Return the SHA-256 of the file in hex; of the slide, `done_bytes` were read before."""
        digest = hashlib.sha256()
        with file.path.open("rb", buffering=0) as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
                done_bytes += len(data)
                self.progress.report("fetching", done_bytes, self._total_bytes)
        return digest.hexdigest()

    def _copy(self, file: _SentFile, part: PartialFile, done_bytes: int) -> None:
        with file.path.open("rb", buffering=0) as opened:
            while data := opened.read(_READ_BYTES):
                part.write(data)
                done_bytes += len(data)
                self.progress.report("fetching", done_bytes, self._total_bytes)

    @property
    def _total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


def uploaded_slide(
    uploads: Uploads, upload_id: str, limit_bytes: int, cache_bytes: int, progress: Progress
) -> UploadedSlide:
    """Return the slide of an upload; that is a use of it.

    Raise `OrderError`: `upload_not_found`, `upload_incomplete`, `input_too_large`.
    """
    if not uploads.exists:
        raise InputUnreachableError(
            "this machine does not see the folder of uploads",
            hint="mount it wherever slides are fetched, and have broker.uploads name it",
        )
    try:
        files = uploads.files(upload_id)
    except OrderError as fault:
        hint = "send the slide again, and place a new order"
        raise OrderError(fault.code, fault.detail, hint=hint, field="source.upload") from None
    uploads.touch(upload_id)
    sent = [
        _SentFile(file.name, path, file.length, _head(path))
        for file, path in files
        if len(files) == 1 or not unzip.is_litter(file.name)
    ]
    total_bytes = sum(file.size_bytes for file in sent)
    if total_bytes > limit_bytes:
        raise InputTooLargeError(
            f"the upload has {total_bytes} bytes; at most {limit_bytes} are taken",
            field="source.upload",
        )
    return UploadedSlide(uploads.set_id(upload_id), tuple(sent), limit_bytes, cache_bytes, progress)


def _head(path: Path) -> bytes:
    """Return the first bytes. Raise `InputUnreachableError` for a file of another user."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_HEAD_BYTES)
    except PermissionError:
        raise InputUnreachableError(
            "this process may not read the upload",
            hint="run API, couriers and workers as one user, or give them a group",
        ) from None
