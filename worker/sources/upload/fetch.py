"""A slide that a caller has sent in: one file, a zip archive, or the files of one slide.

It goes into the slide cache, as a hard link where both are on one disk and as a copy elsewhere. So
the upload may expire while the slide is in use.

Its owner may replace a file at any time. So a file is linked first and hashed then, by the link;
and nothing goes into the cache before the upload was seen to have the same files still.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from broker.errors import OrderError
from broker.uploads import UploadedFile, Uploads
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.sources import slide_file_set
from worker.sources.dicom_series.instances import DownloadedFile
from worker.sources.errors import InputTooLargeError, InputUnreachableError
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.zip import unzip
from worker.sources.zip.fetch import put_into_cache
from worker.sources.zip.find_slide import Holder, find_slide

_HOLDER: Final = Holder("the upload", "send")
_HEAD_BYTES: Final = 1024
_READ_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class _SentFile:
    """A file of the upload. `head`: its first 1024 bytes."""

    uploaded: UploadedFile
    path: Path
    head: bytes

    @property
    def name(self) -> PurePosixPath:
        """Its name, as safe as `broker.uploads` makes it."""
        return self.uploaded.name

    @property
    def size_bytes(self) -> int:
        """Its length, as it was announced."""
        return self.uploaded.length


@dataclass(frozen=True, slots=True)
class UploadedSlide:
    """A slide in the folder of uploads.

    Its files never change once they are whole, so they are hashed once, however often it is
    ordered. `limit_bytes`: the most that the slide may take, `cache_bytes`: that a zip archive and
    its slide may take together.
    """

    uploads: Uploads
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
        """Names, numbers and lengths of the files, hashed.

        A file that is added to the set, or that replaces another, has a number of its own.
        """
        lines = [f"{file.name}\0{file.uploaded.number}\0{file.size_bytes}" for file in self.files]
        return sha256_hex("\n".join(lines))

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Put the slide into the cache, pinned until `pins` closes.

        Raise `NotASlideError`, `UnreadableSlideError`, `InputTooLargeError`, `SlideCacheFullError`
        and `StopWork`; `InputUnreachableError` where a file was removed or replaced meanwhile.
        """
        del known_etag
        try:
            return Downloaded(self._put(cache, pins), "")
        except (OrderError, FileNotFoundError):
            self._check_unchanged()
            raise

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
            self._check_unchanged()
            return slide_file_set.put_into_cache(
                taken, found.main, file_set, cache, pins, self.progress
            )

    def _put_zip(self, file: _SentFile, cache: SlideCache, pins: ExitStack) -> LocalSlide:
        limit_bytes = min(self.limit_bytes, self.cache_bytes - file.size_bytes)
        with unzip.open_archive(file.path) as archive:
            self._check_unchanged()
            return put_into_cache(archive, cache, pins, limit_bytes, self.progress)

    def _put_single_file(self, file: _SentFile, cache: SlideCache, pins: ExitStack) -> LocalSlide:
        suffix = signatures.suffix(file.head, file.name.name)
        with cache.file_set() as file_set:
            link = file_set.link(file.path, "slide")
            if link is not None:
                digest = self._digest(link, file, 0)
                self._check_unchanged()
                return pins.enter_context(cache.put_link(link, suffix, digest))
        with cache.partial_file() as part:
            part.reserve(file.size_bytes)
            self._copy(file, part, 0)
            self._check_unchanged()
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
            link = file_set.link(file.path, name)
            if link is not None:
                digest = self._digest(link, file, done_bytes)
            else:
                with file_set.partial_file(name, self.limit_bytes) as part:
                    self._copy(file, part, done_bytes)
                    digest = part.digest
            taken.append(DownloadedFile(str(file.name), file_set.folder / name, digest))
            done_bytes += file.size_bytes
        return taken

    def _digest(self, link: Path, file: _SentFile, done_bytes: int) -> str:
        """Return the SHA-256 of the linked file in hex.

        Of the slide, `done_bytes` were read before. Raise `InputUnreachableError` for a file of
        another length.
        """
        if link.stat().st_size != file.size_bytes:
            raise _changed()
        digest = hashlib.sha256()
        with link.open("rb", buffering=0) as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
                done_bytes += len(data)
                self.progress.report("fetching", done_bytes, self._total_bytes)
        return digest.hexdigest()

    def _copy(self, file: _SentFile, part: PartialFile, done_bytes: int) -> None:
        """Copy the file. Raise `InputUnreachableError` for a file of another length."""
        with file.path.open("rb", buffering=0) as opened:
            if os.fstat(opened.fileno()).st_size != file.size_bytes:
                raise _changed()
            while data := opened.read(_READ_BYTES):
                part.write(data)
                done_bytes += len(data)
                self.progress.report("fetching", done_bytes, self._total_bytes)

    def _check_unchanged(self) -> None:
        """Raise `InputUnreachableError` where a file was removed or replaced."""
        if not self.uploads.has_files(self.set_id, [file.uploaded for file in self.files]):
            raise _changed()

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
    sent = tuple(_SentFile(file, path, _head(path)) for file, path in files)
    total_bytes = sum(file.size_bytes for file in sent)
    if total_bytes > limit_bytes:
        raise InputTooLargeError(
            f"the upload has {total_bytes} bytes; at most {limit_bytes} are taken",
            field="source.upload",
        )
    set_id = uploads.set_id(upload_id)
    return UploadedSlide(uploads, set_id, sent, limit_bytes, cache_bytes, progress)


def _changed() -> InputUnreachableError:
    return InputUnreachableError(
        "a file of the upload was removed or replaced while the slide was taken from it",
        hint="the next try takes the files that are there then",
    )


def _head(path: Path) -> bytes:
    """Return the first bytes.

    Raise `InputUnreachableError` for a file of another user, and for one that is gone.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise _changed() from None
    except PermissionError:
        raise InputUnreachableError(
            "this process may not read the upload",
            hint="run API, couriers and workers as one user, or give them a group",
        ) from None
