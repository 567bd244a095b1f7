"""Files as pyramids of levels: one reader for each kind, and the choice between them by content.

Owns the protocol that every reader keeps and the order in which they are tried. Must not know what is read for.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from PIL import Image

from broker.errors import OrderError
from worker.slides.partial.manifest import MARK, NAME
from worker.geometry.frame import Pixels

BLOCK_PX: Final = 2**26
"""The most pixels that are decoded at a time, be it a stored tile or a region of a level."""
_HEAD_BYTES: Final = 132
_PLAINLY_TILED: Final = frozenset({"aperio", "dicom"})
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Stored(Protocol):
    """The levels of a pyramid in their own pixels, tile by tile. Threads may share it."""

    @property
    def reductions(self) -> Sequence[Sequence[int]]:
        """For every level, by which whole numbers its tiles can be made smaller while they are decoded."""

    def fill(self, region: Pixels, level: int, left: int, top: int, reduction: int = 1) -> None:
        """Write what is at (left, top), in pixels of the level so reduced, into `region`, (height, width, 3), on white.

        Raises `OrderError`: `slide_unreadable`.
        """


class Pyramid(Protocol):
    """An open slide as its reader sees it, in OpenSlide's words. Threads may share it."""

    @property
    def name(self) -> str:
        """Which reader it is, with its version, as provenance states it."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says, in OpenSlide's names: openslide.mpp-x, openslide.bounds-x, tiff.XResolution …"""

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every level in its own pixels, level 0 first."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of every level: the mean of both axes, as locations are divided by it."""

    @property
    def stored(self) -> Stored | None:
        """Its stored tiles, where they can be had one by one."""

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """`size` pixels of the level from a level-0 location on, in RGBA; transparent where there is no picture.

        Raises `OrderError`: `slide_unreadable`.
        """

    def close(self) -> None:
        """Close the file. Nothing may be read any more."""


_P = TypeVar("_P", bound=Pyramid)


def open_pyramid(path: Path) -> Pyramid:
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


def _known_to_openslide(path: Path, head: bytes) -> Pyramid | None:
    """What OpenSlide knows but cannot read, often for its compression, another reader may; else both are told.

    Only where tiles lie beside each other: of scanners whose tiles overlap it would show them unstitched.
    """
    from worker.slides.tiff.aperio import with_stored_tiles
    from worker.slides.openslide_reader import open_openslide, vendor_of

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


def _other(path: Path, head: bytes) -> Pyramid:
    from worker.slides.image_reader import open_picture

    if path.suffix.lower() == ".mrxs":  # a JPEG of the whole, beside its data: nobody asked for findings in that
        raise OrderError(
            "slide_unreadable",
            "The slide cannot be read: this is the small picture of a MIRAX slide, and its data files are missing",
            hint="give the folder of the same name with it: by path, or both in one zip by zip_url",
        )
    return (_reader_of(head) or open_picture)(path)


def _reader_of(head: bytes) -> Callable[[Path], Pyramid] | None:
    """Who reads what begins like this, pictures aside. Imported only now: a slide seldom needs more than one reader."""
    if head.startswith(_TIFF):
        from worker.slides.tiff.reader import open_tiff

        return open_tiff
    if head[128:132] == b"DICM":
        from worker.slides.dicom.reader import open_dicom

        return open_dicom
    return None
