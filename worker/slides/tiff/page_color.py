"""The color and the bits of a page's samples, as its compressed tiles state them.

Some programs state another color or depth in the TIFF than they store in its tiles. The tiles are
right; where they leave it open, the page decides.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from worker.slides import signatures
from worker.slides.stream_color import HEADER_BYTES, Color, StreamHeader, read_stream_header
from worker.slides.tiff.color import EXPORT_IN_EIGHT_BITS, AmbiguousColorError

JPEG: Final = frozenset({COMPRESSION.OJPEG, COMPRESSION.JPEG})
JPEG_2000: Final = frozenset(
    {
        COMPRESSION.APERIO_JP2000_YCBC,
        COMPRESSION.APERIO_JP2000_RGB,
        COMPRESSION.JPEG2000,
        COMPRESSION.JPEG_2000_LOSSY,
    }
)
_STARTS: Final = (
    signatures.JPEG,
    signatures.JPEG_2000_CODESTREAM,
    signatures.JPEG_2000_FILE,
)
_START_BYTES: Final = max(map(len, _STARTS))
_START_OF_IMAGE_BYTES: Final = 2
_END_OF_IMAGE_BYTES: Final = 2
# How many places are looked at for a stored tile. Of a slide that was fetched in part, nearly all
# tiles may be missing.
_MOST_PLACES: Final = 2**17
_PHOTOMETRICS: Final[dict[Color, PHOTOMETRIC]] = {
    "RGB": PHOTOMETRIC.RGB,
    "YBR": PHOTOMETRIC.YCBCR,
}
_EXPORT_TRUE: Final = "export it again, with a PhotometricInterpretation that its tiles have"


@dataclass(frozen=True, slots=True)
class PageColor:
    """How a page's samples are shown.

    `is_false_in_openslide`: OpenSlide would show another color, because it trusts the page.
    `codec_returns_ycbcr`: decoded samples must be converted to RGB, whatever the page states.
    """

    is_false_in_openslide: bool
    codec_returns_ycbcr: bool


def read_tile_header(page: TiffPage, file: io.FileIO) -> StreamHeader | None:
    """Return what the tiles of a JPEG or JPEG 2000 page state, by the first and a middle one.

    None for other compressions, and where no tile is stored.
    Raises `AmbiguousColorError` if the tiles contradict each other, or the page's number of bits or
    samples: they would be shown in other colors or another brightness.
    """
    found: StreamHeader | None = None
    for header in _sampled_headers(page, file):
        _refuse_other_samples(page, header)
        found = _joined(found, header)
        if len(found.colors) > 1:
            raise AmbiguousColorError(
                "its tiles have marks of RGB and of YCbCr, so that it is not clear which colours "
                "are meant",
                hint=_EXPORT_TRUE,
            )
    return found


def has_stated_color(page: TiffPage) -> bool:
    """Return whether the page has three samples whose color its tiles may state otherwise."""
    return (
        page.samplesperpixel == 3
        and page.planarconfig == 1
        and page.photometric in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}
        and page.compression in JPEG | JPEG_2000
        and not page.jpegheader
    )


def stored_color(page: TiffPage, header: StreamHeader | None) -> Color:
    """Return the color of a page's samples: what its tiles state, else what the page does.

    It is only for pages that are `has_stated_color`. Samples of JPEG 2000 are meant after its codec
    has undone the color transform.
    Raises `AmbiguousColorError` if only the page states it, and contradicts itself.
    """
    if header is not None and header.color is not None:
        return header.color
    if page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        return "YBR"
    if page.photometric == PHOTOMETRIC.RGB:
        return "RGB"
    if page.compression == COMPRESSION.APERIO_JP2000_RGB:
        raise AmbiguousColorError(
            "its compression (33005) is for RGB, it says YCbCr, and its tiles leave it open",
            hint=_EXPORT_TRUE,
        )
    return "YBR"


def openslide_color(page: TiffPage) -> Color:
    """Return in which color OpenSlide shows the samples of a page: it trusts the page."""
    if page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        return "YBR"
    if page.compression == COMPRESSION.APERIO_JP2000_RGB or page.photometric == PHOTOMETRIC.RGB:
        return "RGB"
    return "YBR"


def correct_color(page: TiffPage, header: StreamHeader | None) -> PageColor:
    """Let the page state the color that its tiles have, by what they state themselves (`header`).

    A page of JPEG 2000 states RGB afterwards, because tifffile decodes no other one.
    Raises `AmbiguousColorError`.
    """
    if not has_stated_color(page):
        return PageColor(is_false_in_openslide=False, codec_returns_ycbcr=False)
    color = stored_color(page, header)
    is_false_in_openslide = color != openslide_color(page)
    if page.compression in JPEG:
        if header is not None and header.is_lossless_jpeg and color == "YBR":
            raise AmbiguousColorError(
                "its lossless JPEG tiles are said to be YCbCr", hint=EXPORT_IN_EIGHT_BITS
            )
        page.photometric = _PHOTOMETRICS[color]
        return PageColor(is_false_in_openslide, codec_returns_ycbcr=False)
    # The codec of JPEG 2000 itself converts what it can know to be YCbCr.
    is_converted = header is not None and (header.is_subsampled or header.is_sycc)
    page.photometric = PHOTOMETRIC.RGB
    return PageColor(is_false_in_openslide, color == "YBR" and not is_converted)


def _refuse_other_samples(page: TiffPage, header: StreamHeader) -> None:
    """Raise `AmbiguousColorError` if the page states other samples than its tiles have.

    A page of more than 8 bits may be the container of fewer.
    """
    components = 1
    if page.planarconfig == 1:
        components = int(page.samplesperpixel)
    if header.components != components:
        raise AmbiguousColorError(
            f"it says {components} samples for each pixel, and its tiles have {header.components}",
            hint=_EXPORT_TRUE,
        )
    is_container = page.bitspersample > max(8, header.bits)
    if header.is_signed or (header.bits != page.bitspersample and not is_container):
        kind = "signed " if header.is_signed else ""
        raise AmbiguousColorError(
            f"it says {page.bitspersample} bits for each sample, and its tiles have "
            f"{header.bits} {kind}bits",
            hint=EXPORT_IN_EIGHT_BITS,
        )


def _joined(first: StreamHeader | None, second: StreamHeader) -> StreamHeader:
    """Return what two tiles of a page state; a mark of one of them holds for both.

    `first` is None where there is but one.

    Raises `AmbiguousColorError` if they are of different kinds.
    """
    if first is None:
        return second
    kinds = [
        (header.bits, header.is_subsampled, header.is_sycc, header.is_transformed)
        for header in (first, second)
    ]
    if kinds[0] != kinds[1]:
        raise AmbiguousColorError(
            "its tiles are stored in different ways: in other bits or colours",
            hint=EXPORT_IN_EIGHT_BITS,
        )
    if not first.colors:
        return second
    if first.colors == second.colors or not second.colors:
        return first
    raise AmbiguousColorError(
        "some of its tiles have marks of RGB and others of YCbCr", hint=_EXPORT_TRUE
    )


def _sampled_headers(page: TiffPage, file: io.FileIO) -> Iterator[StreamHeader]:
    """Yield what the first tile and one from the middle state; fewer where fewer are stored."""
    if page.compression not in JPEG | JPEG_2000 or page.jpegheader:
        return
    count = min(len(page.dataoffsets), len(page.databytecounts))
    for first in sorted({0, count // 2}):
        for index in range(first, min(count, first + _MOST_PLACES)):
            stream = _start_of_tile(page, file, index)
            header = read_stream_header(stream) if stream else None
            if header is not None:
                yield header
                break


def _start_of_tile(page: TiffPage, file: io.FileIO, index: int) -> bytes:
    """Return the beginning of a stored stream, as it is decoded: after the tables of the page.

    Empty where the file leaves the tile out, or it was not fetched with a part of the file.
    """
    offset = page.dataoffsets[index]
    size_bytes = page.databytecounts[index]
    if not offset or not size_bytes:
        return b""
    start = os.pread(file.fileno(), _START_BYTES, offset)
    if not start.startswith(_STARTS):
        return b""
    stream = os.pread(file.fileno(), min(size_bytes, HEADER_BYTES), offset)
    if page.jpegtables and page.compression in JPEG:
        return page.jpegtables[:-_END_OF_IMAGE_BYTES] + stream[_START_OF_IMAGE_BYTES:]
    return stream
