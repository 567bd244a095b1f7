"""A slide in a zip archive behind a URL: a DICOM series, or a slide of one or more files."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from broker.errors import OrderError
from broker.orders.fields import without_query
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slides import signatures
from worker.slides.errors import NotASlideError
from worker.slides.slide_files import FILES_BESIDE, FILES_IN_FOLDER
from worker.sources import companion_files
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import DownloadedFile
from worker.sources.http import checksum
from worker.sources.http.download import Download
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.unicode_names import normalized
from worker.sources.url import source_key
from worker.sources.zip import unzip
from worker.sources.zip.unzip import Archive, Member

_MIRAX_INDEX: Final = "Slidedat.ini"
"""In the folder of a MIRAX slide.

Without it OpenSlide would show the preview in place of the slide.
"""
_SINGLE_FILE_SLIDES: Final = (".tif", ".czi", ".svslide")
_PICTURES: Final = (".png", ".jpg", ".jp2", ".j2k", ".webp", ".bmp")


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
                slide = _put_into_cache(archive, cache, pins, limit_bytes, self.progress)
            return Downloaded(slide, download.etag)


@dataclass(frozen=True, slots=True)
class _SlideInZip:
    """The files of the slide.

    `main`: the one to open, which is also the first; None for a DICOM series.
    """

    main: Member | None
    members: tuple[Member, ...]


def _put_into_cache(
    archive: Archive, cache: SlideCache, pins: ExitStack, limit_bytes: int, progress: Progress
) -> LocalSlide:
    """Unpack the slide in the archive into the cache, pinned until `pins` closes."""
    found = _find_slide(archive.members)
    total_bytes = unzip.total_bytes(found.members, limit_bytes)
    if found.main and len(found.members) == 1:
        return _put_single_file(archive, found.main, cache, pins, progress)
    with cache.file_set() as file_set:
        file_set.reserve(total_bytes)
        files = _unpack(archive, found, file_set, total_bytes, progress)
        if not found.main:
            return instances.put_into_cache(files, file_set, cache, pins, progress)
        for file in files:
            companion_files.check_stays_in_folder(file.path)
        for name, path in companion_files.expected_names(files[0].path).items():
            (file_set.folder / name).symlink_to(path.name)
        digest = _digest(files, file_set.folder)
        return pins.enter_context(cache.put_file_set(file_set, found.main.name.name, digest))


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
    found: _SlideInZip,
    file_set: FileSet,
    total_bytes: int,
    progress: Progress,
) -> list[DownloadedFile]:
    """Unpack the files of the slide.

    A DICOM series is named by number, other files as the main file expects them.
    """
    files = []
    unpacked_bytes = 0
    for number, member in enumerate(found.members):
        name = f"member {number}"
        if found.main:
            name = str(member.name.relative_to(found.main.name.parent))
        with file_set.partial_file(name, total_bytes) as part:
            archive.copy(member, part, progress, unpacked_bytes, total_bytes)
            files.append(DownloadedFile(str(member.name), part.path, part.digest))
        unpacked_bytes += member.size_bytes
    return files


def _digest(files: Sequence[DownloadedFile], folder: Path) -> str:
    """Return the SHA-256, in hex, over the names and contents of the files."""
    lines = sorted(f"{file.digest} {file.path.relative_to(folder)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _find_slide(members: Sequence[Member]) -> _SlideInZip:
    """Return the one slide among the members. Raise `NotASlideError` for none or several."""
    series = tuple(member for member in members if signatures.is_dicom(member.head))
    others = [member for member in members if not signatures.is_dicom(member.head)]
    mains = [member for member in others if _is_slide(member)]
    if not series and not mains:
        mains = [member for member in members if _suffix_by_content(member) in _PICTURES]
    if len(mains) + bool(series) != 1:
        raise _none_or_several(members, series, mains)
    if series:
        return _SlideInZip(None, series)
    main = mains[0]
    return _SlideInZip(main, (main, *_companions(main, members)))


def _companions(main: Member, members: Sequence[Member]) -> list[Member]:
    """Return the other files that belong to the slide whose main file is `main`."""
    folder = main.name.parent
    if main.name.suffix.lower() in FILES_BESIDE:
        return [member for member in members if member.name.parent == folder and member is not main]
    if main.name.suffix != FILES_IN_FOLDER:
        return []
    data_folder = normalized(f"{main.name.with_suffix('')}/")
    companions = [
        member for member in members if normalized(str(member.name)).startswith(data_folder)
    ]
    index = f"{data_folder}{_MIRAX_INDEX}"
    if not any(normalized(str(member.name)) == index for member in companions):
        raise NotASlideError(
            f"the zip holds {main.name.name!r}, but no {index!r}",
            hint="zip the .mrxs file together with the folder beside it",
        )
    return companions


def _is_slide(member: Member) -> bool:
    suffix = member.name.suffix
    if suffix == FILES_IN_FOLDER or suffix.lower() in FILES_BESIDE:
        return True
    return _suffix_by_content(member) in _SINGLE_FILE_SLIDES


def _suffix_by_content(member: Member) -> str:
    """Return the suffix that the first bytes call for; empty for what can be no slide."""
    try:
        return signatures.suffix(member.head, member.name.name)
    except OrderError:
        return ""


def _none_or_several(
    members: Sequence[Member], series: Sequence[Member], mains: Sequence[Member]
) -> NotASlideError:
    hint = (
        "zip one slide: the images of one DICOM series, an .mrxs with its folder, or a single file"
    )
    slides = []
    if series:
        slides.append(f"{len(series)} DICOM files")
    slides += [_shown_name(main) for main in mains[:10]]
    if slides:
        return NotASlideError(f"the zip holds more than one slide: {', '.join(slides)}", hint=hint)
    names = ", ".join(_shown_name(member) for member in members[:10]) or "nothing"
    return NotASlideError(f"the zip holds no slide, but {names}", hint=hint)


def _shown_name(member: Member) -> str:
    return repr(str(member.name)[:100])
