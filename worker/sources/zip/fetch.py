"""A slide in a zip archive behind a URL: a DICOM series, a slide of several files, or one single file.

Owns what in an archive is the slide. Must not know what zips may be made of.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.errors import OrderError
from broker.orders.fields import without_query
from worker.slide_cache.file_set import FileSet
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import PartialFile
from worker.slides import signatures
from worker.sources import asking, companion_files
from worker.sources.companion_files import FLANKED, FOLDERED
from worker.sources.dicom_series import instances
from worker.sources.dicom_series.instances import Arrived
from worker.sources.http import checksum
from worker.sources.http.download import Download
from worker.sources.request import FetchRequest
from worker.sources.url import source_key
from worker.sources.zip import unzip
from worker.sources.zip.unzip import Archive, Member

_INDEX: Final = "Slidedat.ini"  # there; without it OpenSlide would show the preview for the slide
_ALONE: Final = (".tif", ".czi", ".svslide")
_PICTURES: Final = (".png", ".jpg", ".jp2", ".j2k", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class _Found:
    """What in the archive is the slide. `main`: the file to open, None for a DICOM series."""

    main: Member | None
    members: tuple[Member, ...]


def fetch(url: str, errand: FetchRequest, sha256: str | None = None) -> LocalSlide:
    """The slide in the zip behind `url`, on the shelf; fetched again only if it changed.

    `sha256`: of the zip, in hex, where the order states it. Raises `OrderError`: `not_a_slide` for a zip without a
    slide or with several, and for one that is not safe to unpack; `slide_unreadable` for one that is broken.
    """

    def ask(etag: str) -> tuple[LocalSlide | None, str]:
        with errand.means.shelf.part() as part:
            download = Download(
                errand.means.http, url, part, errand.means.limit_bytes, errand.watch, unzip.judge
            )
            if not download.run(etag):
                return None, ""
            part.settle()
            checksum.demand(sha256, part.digest, without_query(url))
            return _unpacked(part, errand), download.etag

    return asking.revalidate(asking.hashed(f"zip\n{source_key(url)}\n{sha256}"), url, errand, ask)


def _unpacked(part: PartialFile, errand: FetchRequest) -> LocalSlide:
    means = errand.means
    with unzip.opened(part.path) as archive:
        found = _slide(archive.members)
        total_bytes = unzip.total_bytes(
            found.members, min(means.limit_bytes, means.settings.slides.max_bytes - part.bytes)
        )
        if found.main and len(found.members) == 1:
            return _alone(archive, found.main, errand)
        with means.shelf.bundle() as bundle:
            bundle.reserve(total_bytes)
            files = _files(archive, found, bundle, errand, total_bytes)
            if not found.main:
                return instances.put(files, bundle, errand)
            return _together(found.main, files, bundle, errand)


def _alone(archive: Archive, member: Member, errand: FetchRequest) -> LocalSlide:
    """A slide of one file, the same on the shelf as if it had come without a zip."""
    with errand.means.shelf.part() as part:
        part.reserve(member.bytes)
        archive.copy(member, part, errand.watch, 0, member.bytes)
        return errand.pins.enter_context(
            errand.means.shelf.put(part, signatures.suffix(part.head()))
        )


def _files(
    archive: Archive, found: _Found, bundle: FileSet, errand: FetchRequest, total_bytes: int
) -> list[Arrived]:
    """The slide's files, unpacked into the bundle: by number, or where a main file looks for them."""
    files, before_bytes = [], 0
    for number, member in enumerate(found.members):
        name = (
            str(member.name.relative_to(found.main.name.parent))
            if found.main
            else f"member {number}"
        )
        with bundle.part(name, total_bytes) as part:
            archive.copy(member, part, errand.watch, before_bytes, total_bytes)
            files.append(Arrived(str(member.name), part.path, part.digest))
        before_bytes += member.bytes
    return files


def _together(
    main: Member, files: Sequence[Arrived], bundle: FileSet, errand: FetchRequest
) -> LocalSlide:
    """A slide of several files; its digest is over their names and contents."""
    for file in files:
        companion_files.refuse_upwards(file.path)
    named = sorted(f"{file.digest} {file.path.relative_to(bundle.folder)}\n" for file in files)
    digest = hashlib.sha256("".join(named).encode()).hexdigest()
    return errand.pins.enter_context(errand.means.shelf.put_bundle(bundle, main.name.name, digest))


def _slide(members: Sequence[Member]) -> _Found:
    """The one slide among the members. Raises `OrderError("not_a_slide")` for none or several."""
    series = tuple(member for member in members if instances.is_dicom(member.head))
    mains = [
        member for member in members if not instances.is_dicom(member.head) and _is_slide(member)
    ]
    if not series and not mains:
        mains = [member for member in members if _kind(member) in _PICTURES]
    if len(mains) + bool(series) != 1:
        raise _none_or_several(members, series, mains)
    if series:
        return _Found(None, series)
    return _Found(mains[0], (mains[0], *_companions(mains[0], members)))


def _companions(main: Member, members: Sequence[Member]) -> list[Member]:
    """The files that belong to `main`."""
    folder = main.name.parent
    if main.name.suffix.lower() in FLANKED:
        return [member for member in members if member.name.parent == folder and member is not main]
    if main.name.suffix != FOLDERED:
        return []
    own = main.name.with_suffix("")
    found = [member for member in members if own in member.name.parents]
    if not any(member.name == own / _INDEX for member in found):
        detail = f"the zip holds {main.name.name!r}, but no {str(own / _INDEX)!r}"
        raise OrderError(
            "not_a_slide", detail, hint="zip the .mrxs file together with the folder beside it"
        )
    return found


def _is_slide(member: Member) -> bool:
    suffix = member.name.suffix
    return suffix == FOLDERED or suffix.lower() in FLANKED or _kind(member) in _ALONE


def _kind(member: Member) -> str:
    """The suffix that its first bytes call for, empty for what can be no slide."""
    try:
        return signatures.suffix(member.head, member.name.name)
    except OrderError:
        return ""


def _none_or_several(
    members: Sequence[Member], series: Sequence[Member], mains: Sequence[Member]
) -> OrderError:
    hint = (
        "zip one slide: the images of one DICOM series, an .mrxs with its folder, or a single file"
    )
    found = ([f"{len(series)} DICOM files"] if series else []) + [
        repr(str(main.name)[:100]) for main in mains[:10]
    ]
    if found:
        return OrderError(
            "not_a_slide", f"the zip holds more than one slide: {', '.join(found)}", hint=hint
        )
    names = ", ".join(repr(str(member.name)[:100]) for member in members[:10]) or "nothing"
    return OrderError("not_a_slide", f"the zip holds no slide, but {names}", hint=hint)
