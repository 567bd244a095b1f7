"""A slide in a zip archive behind a URL: a DICOM series, or a slide of one or more files."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

import requests

from broker.orders.fields import without_query
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides import signatures
from worker.sources import slide_file_set
from worker.sources.dicom_series.instances import DownloadedFile
from worker.sources.http import checksum
from worker.sources.http.download import Download
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.url import source_key
from worker.sources.zip import unzip
from worker.sources.zip.find_slide import Holder, find_slide
from worker.sources.zip.unzip import Archive, Member

_HOLDER: Final = Holder("the zip", "zip")


@dataclass(frozen=True, slots=True)
class ZipArchive:
    """A zip archive that holds one slide.

    `sha256`: of the archive in hex where the order states it; another file is refused.
    `limit_bytes`: the most that the slide may take, `cache_bytes`: that archive and slide may take
    together.
    """

    session: requests.Session
    url: str = field(repr=False)
    sha256: str | None
    limit_bytes: int
    cache_bytes: int
    progress: Progress
    fresh_s: float = 0.0

    @property
    def cache_key(self) -> str:
        """The URL without its signature and the checksum, hashed."""
        return sha256_hex(f"zip\n{source_key(self.url)}\n{self.sha256}")

    @property
    def fingerprint(self) -> str:
        """The URL, hashed."""
        return sha256_hex(self.url)

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download and unpack the archive unless its strong ETag is still `known_etag`.

        Raise `NotASlideError` for an archive without a slide or with several, and for one that is
        not safe to unpack; `UnreadableSlideError` for a damaged one.
        """
        with cache.partial_file() as part:
            download = Download(
                self.session, self.url, part, self.limit_bytes, self.progress, unzip.check_is_zip
            )
            if not download.run(known_etag):
                return Downloaded(None, known_etag)
            part.flush()
            checksum.require(self.sha256, part.digest, without_query(self.url))
            limit_bytes = min(self.limit_bytes, self.cache_bytes - part.bytes)
            with unzip.open_archive(part.path) as archive:
                slide = put_into_cache(archive, cache, pins, limit_bytes, self.progress)
            return Downloaded(slide, download.etag)


def put_into_cache(
    archive: Archive, cache: SlideCache, pins: ExitStack, limit_bytes: int, progress: Progress
) -> LocalSlide:
    """Unpack the slide in the archive into the cache, pinned until `pins` closes."""
    found = find_slide(archive.members, _HOLDER)
    by_name = {member.name: member for member in archive.members}
    members = [by_name[name] for name in found.names]
    total_bytes = unzip.total_bytes(members, limit_bytes)
    if found.main and len(members) == 1:
        return _put_single_file(archive, members[0], cache, pins, progress)
    with cache.file_set() as file_set:
        file_set.reserve(total_bytes)
        files = _unpack(archive, members, found.main, file_set, total_bytes, progress)
        return slide_file_set.put_into_cache(files, found.main, file_set, cache, pins, progress)


def _put_single_file(
    archive: Archive, member: Member, cache: SlideCache, pins: ExitStack, progress: Progress
) -> LocalSlide:
    """Unpack a slide of one file, as if it had not been zipped."""
    with cache.partial_file() as part:
        part.reserve(member.size_bytes)
        archive.copy(member, part, progress, 0, member.size_bytes)
        suffix = signatures.suffix(part.first_bytes())
        return pins.enter_context(cache.put(part, suffix))


def _unpack(
    archive: Archive,
    members: Sequence[Member],
    main: PurePosixPath | None,
    file_set: FileSet,
    total_bytes: int,
    progress: Progress,
) -> list[DownloadedFile]:
    """Unpack the files of the slide.

    A DICOM series is named by number, other files as the main file expects them.
    """
    files = []
    unpacked_bytes = 0
    for number, member in enumerate(members):
        name = f"member {number}"
        if main:
            name = str(member.name.relative_to(main.parent))
        with file_set.partial_file(name, total_bytes) as part:
            archive.copy(member, part, progress, unpacked_bytes, total_bytes)
            files.append(DownloadedFile(str(member.name), part.path, part.digest))
        unpacked_bytes += member.size_bytes
    return files
