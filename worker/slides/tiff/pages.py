"""Which directories of a TIFF are the levels of its slide, and how each is cut into tiles.

Owns that choice and the bounds on what a file may claim; knows nothing of colours, compressions or regions.
"""

from collections.abc import Iterator
from typing import Final, Literal

from tifffile import COMPRESSION, TiffFile, TiffPage, TiffPages

from broker.errors import OrderError
from worker.slides.reader import BLOCK_PX

_MAX_PAGES: Final = 256
_STRIP_PX: Final = 2**20  # what is read at a time of an uncompressed picture in a single strip
_BYTE_ORDERS: Final[dict[str, Literal["little", "big"]]] = {"<": "little", ">": "big"}
_ORIENTATION: Final = 274
_PLACES: Final = (273, 279, 324, 325)  # offsets and sizes of strips and tiles
_ASPECT_PX: Final = 2  # what halving and rounding again and again may change of a level's height


def levels(tiff: TiffFile) -> list[TiffPage]:
    """Level 0 and the pages that show the same in smaller, largest first; labels and overviews are left out.

    Raises `OrderError`: `not_a_slide` without a picture, `slide_unreadable` for a stack or a claim beyond bounds.
    """
    pages = [page for page in _bounded(tiff.pages) if _shows_something(page)]
    _refuse_broken_chain(tiff)
    if not pages:
        raise OrderError(
            "not_a_slide",
            "The TIFF holds no picture",
            hint="see that the source gives the slide itself, whole",
        )
    full = max(
        pages,
        key=lambda page: (page.is_tiled, not page.is_reduced, page.imagewidth * page.imagelength),
    )
    _refuse_stack(full, pages)
    if full.tags.valueof(_ORIENTATION, 1) != 1:
        raise unreadable(
            "it is stored turned or mirrored (Orientation), so viewers show it in another frame"
        )
    below = [page for page in _bounded(full.pages) if _shows_something(page)] if full.pages else []
    marked = [*below, *(page for page in pages if _is_marked(page, full))]
    smaller = {_size(page): page for page in reversed(marked) if _shows_the_same(page, full)}
    chosen = [full, *(smaller[size] for size in sorted(smaller, reverse=True))]
    for page in chosen:
        _cut_large_strip(page)
        _refuse_false_claims(page)
    return chosen


def tile_size(page: TiffPage) -> tuple[int, int]:
    """Width and height of what is stored, and decoded, at a time: a tile or a strip."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, page.rowsperstrip


def grid(page: TiffPage) -> tuple[int, int]:
    """How many tiles there are across and down."""
    width, height = tile_size(page)
    return -(-page.imagewidth // width), -(-page.imagelength // height)


def planes(page: TiffPage) -> int:
    """In how many tiles one place is stored: as many as there are samples where they are stored apart."""
    return int(page.samplesperpixel) if page.planarconfig == 2 else 1


def forget_places(page: TiffPage) -> None:
    """Where its tiles are stored is known elsewhere: as Python's numbers the places of a large slide take 50 MB."""
    page.dataoffsets = page.databytecounts = ()
    for code in _PLACES:
        if code in page.tags:
            page.tags[code].value = None  # it would be read again where somebody asked for it


def unreadable(detail: str) -> OrderError:
    """The refusal of a TIFF."""
    return OrderError(
        "slide_unreadable",
        f"The TIFF cannot be read: {detail}",
        hint="see that the file is whole; if it opens in a viewer, save it as a tiled pyramid in 8-bit RGB",
    )


def _bounded(pages: TiffPages) -> Iterator[TiffPage]:
    seen: set[int] = set()
    for page in pages:
        if page.offset in seen:  # a chain that bites its tail
            return
        if len(seen) == _MAX_PAGES:
            raise unreadable(f"it has more than {_MAX_PAGES} pages")
        seen.add(page.offset)
        yield page.aspage()


def _refuse_broken_chain(tiff: TiffFile) -> None:
    """tifffile takes a chain that leads out of the file for one that ends: levels would be missing without a word."""
    tiff.filehandle.seek(tiff.pages.next_page_offset or 0)
    following = int.from_bytes(
        tiff.filehandle.read(tiff.tiff.offsetsize), _BYTE_ORDERS[tiff.byteorder]
    )
    if following != 0:
        raise unreadable(
            f"its chain of directories leads to byte {following}, where none is; is the file whole?"
        )


def _shows_something(page: TiffPage) -> bool:
    edges = *_size(page), page.samplesperpixel, page.imagedepth
    return all(isinstance(edge, int) and edge > 0 for edge in edges) and not page.is_mask


def _size(page: TiffPage) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _refuse_stack(full: TiffPage, pages: list[TiffPage]) -> None:
    alike = _size(full), full.is_tiled, full.is_reduced
    planes = (
        sum((_size(page), page.is_tiled, page.is_reduced) == alike for page in pages)
        * full.imagedepth
    )
    if planes > 1:
        raise OrderError(
            "slide_unreadable",
            f"The TIFF holds {planes} pictures of {full.imagewidth} x {full.imagelength} px: "
            "focal planes, times or channels",
            hint="export the one to be looked at, in RGB",
        )


def _is_marked(page: TiffPage, full: TiffPage) -> bool:
    """Whether the file calls it a smaller version of another picture; Aperio alone leaves its levels unmarked."""
    return bool(page.is_reduced) or (page.is_tiled and full.description.startswith("Aperio"))


def _shows_the_same(page: TiffPage, full: TiffPage) -> bool:
    """It is smaller, of the same shape and kind, and stored as the slide is."""
    if page.imagewidth >= full.imagewidth or page.imagelength >= full.imagelength:
        return False
    same_kind = (page.samplesperpixel, page.bitspersample) == (
        full.samplesperpixel,
        full.bitspersample,
    )
    expected = page.imagewidth * full.imagelength / full.imagewidth
    same_layout = page.is_tiled or not full.is_tiled
    return same_kind and same_layout and abs(page.imagelength - expected) <= _ASPECT_PX


def _cut_large_strip(page: TiffPage) -> None:
    """A picture stored uncompressed in a single strip is read a few rows at a time."""
    plain = (
        page.compression == COMPRESSION.NONE
        and page.predictor == 1
        and len(page.dataoffsets) == planes(page)
    )
    if page.is_tiled or not plain or page.imagewidth * page.rowsperstrip <= _STRIP_PX:
        return
    rows = max(1, _STRIP_PX // page.imagewidth)
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    row_bytes = -(-page.imagewidth * samples * page.bitspersample // 8)
    if max(page.dataoffsets) + page.imagelength * row_bytes > page.parent.filehandle.size:
        raise unreadable(f"the file ends before its {page.imagewidth} x {page.imagelength} px do")
    starts = range(0, page.imagelength, rows)
    page.rowsperstrip = rows
    page.dataoffsets = tuple(
        offset + row * row_bytes for offset in page.dataoffsets for row in starts
    )
    page.databytecounts = tuple(
        min(rows, page.imagelength - row) * row_bytes for row in starts
    ) * planes(page)


def _refuse_false_claims(page: TiffPage) -> None:
    width, height = tile_size(page)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise unreadable(f"its tiles are said to be {width} x {height} px")
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise unreadable(f"its tiles are said to be {page.tiledepth} planes deep")
    if width * height > BLOCK_PX:
        raise unreadable(
            f"its tiles are {width} x {height} px; at most {BLOCK_PX} pixels can be decoded at a time"
        )
    across, down = grid(page)
    needed, given = (
        across * down * planes(page),
        min(len(page.dataoffsets), len(page.databytecounts)),
    )
    if given < needed:
        raise unreadable(
            f"its {page.imagewidth} x {page.imagelength} px need {needed} tiles, it has {given}"
        )
