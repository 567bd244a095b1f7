"""Files as pyramids of levels: one reader for each kind, and the choice between them by content.

Owns the protocol that every reader keeps and the order in which they are tried. Must not know what is read for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from broker.errors import OrderError
from worker.slides.partial.manifest import MARK, NAME
from worker.slides.reader import SlideReader

_HEAD_BYTES: Final = 132
_PLAINLY_TILED: Final = frozenset({"aperio", "dicom"})
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


_P = TypeVar("_P", bound=SlideReader)


def open_pyramid(path: Path) -> SlideReader:
    """The slide or picture at `path`: OpenSlide first, then whoever else reads such content.

    Some faults and compressions show only when a tile is decoded, so the first is.
    Raises `OrderError`: `not_a_slide`, `slide_unreadable`.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(MARK) and path.name == NAME:
        from worker.slides.partial.image_pieces import open_cutout

        return open_cutout(path)
    return _known_to_openslide(path, head) or _tried(_other(path, head))


def _known_to_openslide(path: Path, head: bytes) -> SlideReader | None:
    """What OpenSlide knows but cannot read, often for its compression, another reader may; else both are told.

    Only where tiles lie beside each other: of scanners whose tiles overlap it would show them unstitched.
    """
    from worker.slides.openslide_reader import open_openslide, vendor_of
    from worker.slides.tiff.aperio import with_stored_tiles

    vendor = vendor_of(path)
    if vendor is None:
        return None
    try:
        slide = _tried(open_openslide(path, vendor))
    except OrderError as error:
        first = error
    else:
        return with_stored_tiles(slide, path) if vendor == "aperio" else slide
    if vendor not in _PLAINLY_TILED:
        raise first
    try:
        return _tried(_other(path, head))
    except OrderError as second:
        also = f"; {second.detail}" if second.code == first.code else ""
        raise OrderError(first.code, first.detail + also, hint=first.hint) from None


def _tried(pyramid: _P) -> _P:
    x, y = (int(pyramid.properties.get(f"openslide.bounds-{axis}", 0)) for axis in "xy")
    try:
        pyramid.read_region((x, y), 0, (1, 1))
    except BaseException:
        pyramid.close()
        raise
    return pyramid


def _other(path: Path, head: bytes) -> SlideReader:
    from worker.slides.image_reader import open_picture

    if (
        path.suffix.lower() == ".mrxs"
    ):  # a JPEG of the whole, beside its data: nobody asked for findings in that
        raise OrderError(
            "slide_unreadable",
            "The slide cannot be read: this is the small picture of a MIRAX slide, and its data files are missing",
            hint="give the folder of the same name with it: by path, or both in one zip by zip_url",
        )
    return (_reader_of(head) or open_picture)(path)


def _reader_of(head: bytes) -> Callable[[Path], SlideReader] | None:
    """Who reads what begins like this, pictures aside. Imported only now: a slide seldom needs more than one reader."""
    if head.startswith(_TIFF):
        from worker.slides.tiff.reader import open_tiff

        return open_tiff
    if head[128:132] == b"DICM":
        from worker.slides.dicom.reader import open_dicom

        return open_dicom
    return None
