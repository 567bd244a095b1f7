"""Pages of a TIFF: which of them are the levels of its slide, and how each is divided into tiles.

Limits what a file may claim. Knows no colors, compressions or regions.
"""

import math
from collections.abc import Iterator
from typing import Final, Literal

from tifffile import COMPRESSION, TiffFile, TiffPage, TiffPages

from worker.slides.errors import NotASlideError, UnreadableSlideError, UnreadableTiffError
from worker.slides.reader import BLOCK_PX
from worker.slides.tiff.ome import OmeImage, refuse_scenes

_MAX_PAGES: Final = 256
_STRIP_PX: Final = 2**20  # what is read at once of an uncompressed image in a single strip
_BYTE_ORDERS: Final[dict[str, Literal["little", "big"]]] = {"<": "little", ">": "big"}
_ORIENTATION: Final = 274
_OFFSET_AND_SIZE_TAGS: Final = (273, 279, 324, 325)  # of strips and tiles
_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_RESOLUTION_UNIT: Final = 296
_INCH: Final = 2
_LEAST_SHRINKING: Final = 1.1  # tags that differ less are copies of those of level 0
# Tags that differ by so much more than the sizes are 1 or 72 dpi, which programs write by default.
_DEFAULT_TAG: Final = 8
_TAG_ROUNDING: Final = 0.01
_SIZE_TOLERANCE_PX: Final = 2  # how far repeated halving and rounding may change a level's size
_ASPECT_TOLERANCE_PX: Final = 2  # how far repeated halving and rounding may change a level's height


def levels(tiff: TiffFile, images: tuple[OmeImage, ...] = ()) -> list[TiffPage]:
    """Return level 0 and the smaller pages that show the same, largest first.

    Labels and overviews are left out. `images` are those that the file's OME-XML describes.
    Raises `NotASlideError` if there is no image, `UnreadableSlideError` for a stack, several scenes
    and claims beyond the limits.
    """
    pages = [page for page in limited_pages(tiff.pages) if _is_image(page)]
    _refuse_broken_chain(tiff)
    if not pages:
        raise NotASlideError("The TIFF holds no picture")
    full = max(pages, key=_rank_as_level_0)
    refuse_scenes(images, full, pages)
    _refuse_stack(full, pages)
    if full.tags.valueof(_ORIENTATION, 1) != 1:
        raise UnreadableTiffError(
            "it is stored turned or mirrored (Orientation), so viewers show it in another frame"
        )
    chosen = [full, *_smaller_levels(full, pages)]
    for page in chosen:
        _divide_large_strip(page)
        _refuse_false_claims(page)
    return chosen


def limited_pages(pages: TiffPages) -> Iterator[TiffPage]:
    """Yield the pages. Raises `UnreadableSlideError` if there are too many."""
    seen: set[int] = set()
    for page in pages:
        if page.offset in seen:  # the chain of pages is a loop
            return
        if len(seen) == _MAX_PAGES:
            raise UnreadableTiffError(f"it has more than {_MAX_PAGES} pages")
        seen.add(page.offset)
        yield page.aspage()


def tile_size(page: TiffPage) -> tuple[int, int]:
    """Return width and height of what is stored and decoded at once: a tile or a strip."""
    if page.is_tiled:
        return page.tilewidth, page.tilelength
    return page.imagewidth, page.rowsperstrip


def grid(page: TiffPage) -> tuple[int, int]:
    """Return the number of columns and rows of tiles."""
    width, height = tile_size(page)
    columns = -(-page.imagewidth // width)
    rows = -(-page.imagelength // height)
    return columns, rows


def planes(page: TiffPage) -> int:
    """Return how many tiles store one place: one for each sample if samples are stored apart."""
    if page.planarconfig == 2:
        return int(page.samplesperpixel)
    return 1


def forget_tile_places(page: TiffPage) -> None:
    """Delete the page's tile offsets and sizes, which the caller has copied.

    As Python's integers those of a large slide take 50 MB.
    """
    page.dataoffsets = ()
    page.databytecounts = ()
    for code in _OFFSET_AND_SIZE_TAGS:
        if code in page.tags:
            page.tags[code].value = None  # tifffile would otherwise read it again on access


def _refuse_broken_chain(tiff: TiffFile) -> None:
    """Raise `UnreadableSlideError` if the chain of pages leads out of the file.

    tifffile treats that as the end of the chain, and levels would be missing without notice.
    """
    tiff.filehandle.seek(tiff.pages.next_page_offset or 0)
    raw_offset = tiff.filehandle.read(tiff.tiff.offsetsize)
    next_offset = int.from_bytes(raw_offset, _BYTE_ORDERS[tiff.byteorder])
    if next_offset != 0:
        raise UnreadableTiffError(
            f"its chain of directories leads to byte {next_offset}, where none is; "
            "is the file whole?"
        )


def _is_image(page: TiffPage) -> bool:
    lengths = (page.imagewidth, page.imagelength, page.samplesperpixel, page.imagedepth)
    has_pixels = all(isinstance(length, int) and length > 0 for length in lengths)
    return has_pixels and not page.is_mask


def _size(page: TiffPage) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _rank_as_level_0(page: TiffPage) -> tuple[bool, bool, int]:
    return page.is_tiled, not page.is_reduced, page.imagewidth * page.imagelength


def _refuse_stack(full: TiffPage, pages: list[TiffPage]) -> None:
    """Raise `UnreadableSlideError` if there are several images of the same kind as level 0."""
    alike = 0
    for page in pages:
        if (
            _size(page) == _size(full)
            and page.is_tiled == full.is_tiled
            and page.is_reduced == full.is_reduced
        ):
            alike += 1
    images = alike * full.imagedepth
    if images > 1:
        raise UnreadableSlideError(
            f"The TIFF holds {images} pictures of {full.imagewidth} x {full.imagelength} px: "
            "focal planes, times or channels",
            hint="export the one to be looked at, in RGB",
        )


def _smaller_levels(full: TiffPage, pages: list[TiffPage]) -> list[TiffPage]:
    """Return the levels below `full`, largest first; SubIFDs win over pages of the same size.

    A level that is padded to whole tiles loses its padding, if its resolution tags say how much
    that is; one whose size contradicts them is left out.
    """
    marked = []
    if full.pages:
        marked = [page for page in limited_pages(full.pages) if _is_image(page)]
    marked += [page for page in pages if _is_marked_as_reduced(page, full)]
    by_size: dict[tuple[int, int], TiffPage] = {}
    for page in marked:
        if _trim_padding(page, full) and _shows_the_same(page, full):
            by_size.setdefault(_size(page), page)
    return [by_size[size] for size in sorted(by_size, reverse=True)]


def _trim_padding(page: TiffPage, full: TiffPage) -> bool:
    """Cut the padding off a level, and return whether its size is to be trusted.

    The resolution tags of both pages say how many times as coarse the level is.
    """
    coarseness = _coarseness(page, full)
    if coarseness is None:
        return not (_is_whole_tiles(page) and _is_odd_shrinking(page, full))
    width = full.imagewidth / coarseness[0]
    height = full.imagelength / coarseness[1]
    if abs(page.imagewidth - width) <= _SIZE_TOLERANCE_PX and (
        abs(page.imagelength - height) <= _SIZE_TOLERANCE_PX
    ):
        return True
    if not (
        _is_whole_tiles(page)
        and -1 < page.imagewidth - width < page.tilewidth
        and -1 < page.imagelength - height < page.tilelength
    ):
        return False
    # The number of tiles stays the same, because less than a tile is cut off.
    page.imagewidth = max(1, int(width))
    page.imagelength = max(1, int(height))
    return True


def _coarseness(page: TiffPage, full: TiffPage) -> tuple[float, float] | None:
    """Return how many times as large the page's pixels are by its resolution tags.

    None where the page has none of its own: many programs copy those of level 0.
    """
    if page.tags.valueof(_RESOLUTION_UNIT, _INCH) != full.tags.valueof(_RESOLUTION_UNIT, _INCH):
        return None
    ratios = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        fine = _ratio(full.tags.valueof(tag))
        coarse = _ratio(page.tags.valueof(tag))
        if not fine or not coarse:
            return None
        ratio = fine / coarse
        by_width = full.imagewidth / page.imagewidth
        if not _LEAST_SHRINKING <= ratio <= _DEFAULT_TAG * by_width:
            return None
        whole = round(ratio)
        if abs(ratio - whole) <= _TAG_ROUNDING * whole:
            ratio = whole
        ratios.append(ratio)
    return ratios[0], ratios[1]


def _ratio(value: object) -> float:
    """Return a rational tag as a number, 0 where it is none."""
    if isinstance(value, tuple) and len(value) == 2 and value[1]:
        return float(value[0] / value[1])
    return 0.0


def _is_whole_tiles(page: TiffPage) -> bool:
    """Return whether the page's size is a multiple of its tiles', so that it may be padded."""
    if not page.is_tiled:
        return False
    width, height = tile_size(page)
    return page.imagewidth % width == 0 and page.imagelength % height == 0


def _is_odd_shrinking(page: TiffPage, full: TiffPage) -> bool:
    """Return whether the level is not 2, 4, 8, ... times as coarse, within rounding."""
    for length, full_length in (
        (page.imagewidth, full.imagewidth),
        (page.imagelength, full.imagelength),
    ):
        halvings = round(math.log2(full_length / length))
        if abs(length - full_length / 2**halvings) > _SIZE_TOLERANCE_PX:
            return True
    return False


def _is_marked_as_reduced(page: TiffPage, full: TiffPage) -> bool:
    """Return whether the file marks the page as a reduced image.

    Aperio does not mark its levels.
    """
    return bool(page.is_reduced) or (page.is_tiled and full.description.startswith("Aperio"))


def _shows_the_same(page: TiffPage, full: TiffPage) -> bool:
    """Return whether the page is smaller, of the same shape and kind, and stored like `full`."""
    if page.imagewidth >= full.imagewidth or page.imagelength >= full.imagelength:
        return False
    if page.samplesperpixel != full.samplesperpixel or page.bitspersample != full.bitspersample:
        return False
    if full.is_tiled and not page.is_tiled:
        return False
    expected_height = page.imagewidth * full.imagelength / full.imagewidth
    return abs(page.imagelength - expected_height) <= _ASPECT_TOLERANCE_PX


def _divide_large_strip(page: TiffPage) -> None:
    """Divide an uncompressed image in a single strip into strips of a few rows."""
    is_single_raw_strip = (
        not page.is_tiled
        and page.compression == COMPRESSION.NONE
        and page.predictor == 1
        and len(page.dataoffsets) == planes(page)
    )
    if not is_single_raw_strip or page.imagewidth * page.rowsperstrip <= _STRIP_PX:
        return
    rows = max(1, _STRIP_PX // page.imagewidth)
    samples = 1
    if page.planarconfig == 1:
        samples = page.samplesperpixel
    row_bytes = -(-page.imagewidth * samples * page.bitspersample // 8)
    if max(page.dataoffsets) + page.imagelength * row_bytes > page.parent.filehandle.size:
        raise UnreadableTiffError(
            f"the file ends before its {page.imagewidth} x {page.imagelength} px do"
        )
    first_rows = range(0, page.imagelength, rows)
    offsets = []
    for plane_offset in page.dataoffsets:
        offsets += [plane_offset + row * row_bytes for row in first_rows]
    sizes = [min(rows, page.imagelength - row) * row_bytes for row in first_rows]
    page.rowsperstrip = rows
    page.dataoffsets = tuple(offsets)
    page.databytecounts = tuple(sizes) * planes(page)


def _refuse_false_claims(page: TiffPage) -> None:
    width, height = tile_size(page)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise UnreadableTiffError(f"its tiles are said to be {width} x {height} px")
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise UnreadableTiffError(f"its tiles are said to be {page.tiledepth} planes deep")
    if width * height > BLOCK_PX:
        raise UnreadableTiffError(
            f"its tiles are {width} x {height} px; "
            f"at most {BLOCK_PX} pixels can be decoded at a time"
        )
    columns, rows = grid(page)
    needed = columns * rows * planes(page)
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    if listed < needed:
        raise UnreadableTiffError(
            f"its {page.imagewidth} x {page.imagelength} px need {needed} tiles, it has {listed}"
        )
