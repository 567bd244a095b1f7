"""What OpenSlide would show wrongly of a TIFF that it alone reads: its colors, or its brightness.

OpenSlide decodes tiles in the color that their page states, whatever the tiles themselves state,
and shows the high 8 bits of deeper samples. Hamamatsu's files are not among these: their JPEGs are
shown by their own marks.
"""

import logging
from pathlib import Path
from typing import Final

import tifffile
from tifffile import TiffPage

from worker.slides.errors import UnreadableTiffError
from worker.slides.tiff.color import EXPORT_IN_EIGHT_BITS, AmbiguousColorError
from worker.slides.tiff.file import LimitedFile, tiff_errors
from worker.slides.tiff.page_color import (
    has_stated_color,
    openslide_color,
    read_tile_header,
    stored_color,
)
from worker.slides.tiff.pages import limited_pages

_UNSIGNED: Final = 1  # SampleFormat
_EXPORT_TRUE: Final = (
    "export it again, as DICOM or with a PhotometricInterpretation that its tiles have; "
    "OpenSlide, which reads this format, would show false colours"
)


def refuse_false_pixels(path: Path, vendor: str) -> None:
    """Raise `AmbiguousColorError` if OpenSlide would show a level of the slide wrongly.

    A file that tifffile cannot parse is passed over: OpenSlide has opened it.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with LimitedFile(path) as file, tiff_errors(), tifffile.TiffFile(file) as tiff:
            for page in limited_pages(tiff.pages):
                _check_page(page, file, vendor)
    except AmbiguousColorError:
        raise
    except UnreadableTiffError:
        return


def _check_page(page: TiffPage, file: LimitedFile, vendor: str) -> None:
    """Raise `AmbiguousColorError` if OpenSlide would show the page wrongly, where it is a level."""
    if not page.is_tiled:
        return
    if page.bitspersample != 8 or page.sampleformat != _UNSIGNED:
        raise AmbiguousColorError(
            f"its samples have {page.bitspersample} bits (SampleFormat {page.sampleformat}); of "
            f"slides in the format of {vendor} unsigned ones of 8 bits are read",
            hint=EXPORT_IN_EIGHT_BITS,
        )
    header = read_tile_header(page, file)
    if has_stated_color(page) and stored_color(page, header) != openslide_color(page):
        raise AmbiguousColorError(
            "the colours that its pages state are not those of its tiles", hint=_EXPORT_TRUE
        )
