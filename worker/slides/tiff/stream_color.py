"""The colors of compressed tiles, as their own streams state them, against what the page states.

A JPEG stream that has a JFIF or Adobe marker, names its components R, G and B, or stores colors at
half the size leaves no doubt (ITU-T T.871, T.872 6.5.3); nor does a JPEG 2000 stream whose
components were transformed (ISO/IEC 15444-1 A.6.1). Some programs state another color in the TIFF.
"""

import io
import os
from typing import Final

from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from worker.slides import signatures

_LOOKED_AT_TILES: Final = 64
_START_OF_IMAGE: Final = b"\xff\xd8"
_JFIF: Final = b"JFIF\0"
_ADOBE: Final = b"Adobe"
_ADOBE_TRANSFORM_OFFSET: Final = 11
_RGB_COMPONENTS: Final = b"RGB"
_FRAME_MARKERS: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_APP0: Final = 0xE0
_APP14: Final = 0xEE
_START_OF_SCAN: Final = 0xDA
_COMPONENTS_OFFSET: Final = 6  # in the frame header: three bytes for each component follow
_CODING_STYLE: Final = b"\xff\x52"
_TRANSFORM_OFFSET: Final = 8  # of the multiple component transform in the coding style
_JPEG_2000: Final = frozenset(
    {
        COMPRESSION.APERIO_JP2000_YCBC,
        COMPRESSION.APERIO_JP2000_RGB,
        COMPRESSION.JPEG2000,
        COMPRESSION.JPEG_2000_LOSSY,
    }
)


def correct_color(page: TiffPage, file: io.FileIO) -> bool:
    """Let the page state the color that its tiles have, and return whether it stated another one.

    Only pages of three samples in JPEG or JPEG 2000 can be wrong about it.
    """
    if page.samplesperpixel != 3 or page.planarconfig != 1:
        return False
    if page.photometric not in {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}:
        return False
    if page.compression == COMPRESSION.JPEG and not page.jpegheader:
        return _correct_jpeg(page, file)
    if page.compression in _JPEG_2000:
        return _correct_jpeg_2000(page, file)
    return False


def _correct_jpeg(page: TiffPage, file: io.FileIO) -> bool:
    color = _jpeg_color(_first_stream(page, file, _START_OF_IMAGE))
    if color is None or color == page.photometric:
        return False
    page.photometric = color
    return True


def _correct_jpeg_2000(page: TiffPage, file: io.FileIO) -> bool:
    """Correct a page that states YCbCr: a codec that undoes the transform returns RGB."""
    if page.compression != COMPRESSION.APERIO_JP2000_YCBC:
        return False
    stream = _first_stream(page, file, signatures.JPEG_2000_CODESTREAM)
    coding_style = stream.find(_CODING_STYLE)
    transform = stream[coding_style + _TRANSFORM_OFFSET : coding_style + _TRANSFORM_OFFSET + 1]
    if coding_style < 0 or transform != b"\1":
        return False
    page.compression = COMPRESSION.APERIO_JP2000_RGB
    return True


def _first_stream(page: TiffPage, file: io.FileIO, start: bytes) -> bytes:
    """Return the first stored tile that begins with `start`, empty if there is none.

    Tiles may be left out, or not fetched with a part of the file.
    """
    places = zip(page.dataoffsets, page.databytecounts, strict=False)
    looked_at = 0
    for offset, size_bytes in places:
        if not offset or not size_bytes:
            continue
        head = os.pread(file.fileno(), len(start), offset)
        if head == start:
            return os.pread(file.fileno(), min(size_bytes, 2**16), offset)
        looked_at += 1
        if looked_at == _LOOKED_AT_TILES:
            break
    return b""


def _jpeg_color(stream: bytes) -> int | None:
    """Return the color of a JPEG stream, RGB or YCbCr, None if the stream leaves it open."""
    by_marker: int | None = None
    offset = len(_START_OF_IMAGE)
    while offset + 4 <= len(stream) and stream[offset] == 0xFF:
        marker = stream[offset + 1]
        size_bytes = int.from_bytes(stream[offset + 2 : offset + 4], "big")
        content = stream[offset + 4 : offset + 2 + size_bytes]
        if marker == _APP0 and content.startswith(_JFIF):
            return int(PHOTOMETRIC.YCBCR)
        if marker == _APP14 and content.startswith(_ADOBE):
            transform = content[_ADOBE_TRANSFORM_OFFSET : _ADOBE_TRANSFORM_OFFSET + 1]
            by_marker = int(PHOTOMETRIC.RGB if transform == b"\0" else PHOTOMETRIC.YCBCR)
        if marker in _FRAME_MARKERS and by_marker is None:
            return _color_of_frame(content)
        if marker in _FRAME_MARKERS or marker == _START_OF_SCAN:
            return by_marker
        offset += 2 + size_bytes
    return by_marker


def _color_of_frame(frame: bytes) -> int | None:
    """Return the color by a frame header's components, None if it leaves that open."""
    components = frame[_COMPONENTS_OFFSET : _COMPONENTS_OFFSET + 9]
    if len(components) < 9:
        return None
    if components[0::3] == _RGB_COMPONENTS:
        return int(PHOTOMETRIC.RGB)
    sampling = components[1::3]
    if sampling[0] != sampling[1] or sampling[0] != sampling[2]:
        return int(PHOTOMETRIC.YCBCR)
    return None
