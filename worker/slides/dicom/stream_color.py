"""The color space of a compressed frame, as its stream states it.

Converters write streams of one color space and state another one in PhotometricInterpretation. A
JPEG stream has marks of its color space (ITU-T T.871 and T.872), a JPEG 2000 codestream a flag
(ITU-T T.800, A.6.1). The header decides only where the stream has no marks.
"""

import struct
from collections.abc import Iterator
from typing import Final, Literal

from pydicom import uid

from worker.slides.errors import UnreadableDicomError

Color = Literal["RGB", "YBR"]

_JPEG: Final = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_JPEG_LOSSLESS: Final = frozenset({uid.JPEGLossless, uid.JPEGLosslessSV1})
_JPEG_2000: Final = frozenset(
    {
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
    }
)
_EXPORT_AGAIN: Final = "export it again, with a PhotometricInterpretation that its frames have"

_MARKER: Final = 0xFF
_LONE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RSTn, SOI: without a length
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_APP0: Final = 0xE0
_APP14: Final = 0xEE
# All SOFn; 0xC4, 0xC8 and 0xCC are other segments.
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ADOBE_COLORS: Final[dict[int, Color]] = {0: "RGB", 1: "YBR"}
_ADOBE_TRANSFORM: Final = 11  # offset in the segment
_COMPONENT_COUNT: Final = 5
_COMPONENTS: Final = 6
_COMPONENT_BYTES: Final = 3
_IDS_OF_RGB: Final = b"RGB"

_START_OF_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_SIZE: Final = 0x51
_CODING_STYLE: Final = 0x52
_START_OF_TILE: Final = 0x90
_SIZE_SAMPLING: Final = 37  # offset in the segment
_COLOR_TRANSFORM: Final = 4  # offset in the segment


def color_of_samples(syntax: str, photometric: str, stream: bytes) -> Color:
    """Return the color space of a frame of three samples, once its codec has decoded it.

    A codec of JPEG 2000 undoes the stream's own color transform; the others return what is stored.
    Raises `UnreadableSlideError` where the stream and the header leave it open.
    """
    stated: Color = "YBR" if photometric.startswith("YBR_FULL") else "RGB"
    if syntax in _JPEG:
        return _jpeg_color(stream, is_lossless=False) or stated
    if syntax in _JPEG_LOSSLESS:
        return _jpeg_color(stream, is_lossless=True) or stated
    if syntax in _JPEG_2000:
        return _jpeg_2000_color(stream, photometric, stated)
    return stated


def openslide_shows_true_colors(syntax: str, photometric: str, stream: bytes) -> bool:
    """Return whether OpenSlide decodes the frame in its own color space.

    It decodes JPEG as PhotometricInterpretation states, and takes what its codec of JPEG 2000
    returns for RGB. Raises as `color_of_samples`.
    """
    actual = color_of_samples(syntax, photometric, stream)
    if syntax in _JPEG:
        return (actual == "RGB") == (photometric == "RGB")
    return syntax not in _JPEG_2000 or actual == "RGB"


def _jpeg_color(stream: bytes, *, is_lossless: bool) -> Color | None:
    """Return the color space that a JPEG's marks state, None where it has none.

    Encoders write the JFIF marker into lossless streams of RGB, too, so it says nothing there.
    """
    marks: set[Color] = set()
    for marker, segment in _jpeg_segments(stream):
        if marker == _APP0 and segment.startswith(b"JFIF\0") and not is_lossless:
            marks.add("YBR")
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) > _ADOBE_TRANSFORM:
            color = _ADOBE_COLORS.get(segment[_ADOBE_TRANSFORM])
            if color is not None:
                marks.add(color)
        elif marker in _START_OF_FRAME:
            marks |= _marks_of_components(segment)
    if len(marks) > 1:
        raise UnreadableDicomError(
            "its JPEG frames have marks of RGB and of YCbCr, "
            "so that it is not clear which colors are meant",
            hint="export it again, as JPEG in YCbCr or uncompressed",
        )
    return next(iter(marks), None)


def _marks_of_components(frame_header: bytes) -> set[Color]:
    """Return what ids and sampling factors of three components say; ITU-T T.81, B.2.2."""
    if len(frame_header) <= _COMPONENT_COUNT or frame_header[_COMPONENT_COUNT] != 3:
        return set()
    components = frame_header[_COMPONENTS : _COMPONENTS + 3 * _COMPONENT_BYTES]
    marks: set[Color] = set()
    if components[::_COMPONENT_BYTES] == _IDS_OF_RGB:
        marks.add("RGB")
    # Only chroma is stored at less than the full resolution.
    if len(set(components[1::_COMPONENT_BYTES])) > 1:
        marks.add("YBR")
    return marks


def _jpeg_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment before the first scan."""
    offset = 0
    while offset + 1 < len(stream) and stream[offset] == _MARKER:
        marker = stream[offset + 1]
        if marker == _MARKER:  # a fill byte
            offset += 1
            continue
        if marker in _LONE_MARKERS:
            offset += 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE) or offset + 4 > len(stream):
            return
        (length,) = struct.unpack_from(">H", stream, offset + 2)
        yield marker, stream[offset + 4 : offset + 2 + length]
        offset += 2 + length


def _jpeg_2000_color(stream: bytes, photometric: str, stated: Color) -> Color:
    is_transformed, has_subsampled_colors = _jpeg_2000_flags(stream)
    if is_transformed is None:
        return stated  # a broken stream, which its codec refuses
    if is_transformed and stated == "RGB":
        return "RGB"
    if is_transformed:
        raise UnreadableDicomError(
            f"it says {photometric}, and its JPEG 2000 frames have the color transform of RGB, "
            "so that it is not clear which colors are meant",
            hint=_EXPORT_AGAIN,
        )
    if has_subsampled_colors:
        raise UnreadableDicomError(
            "its JPEG 2000 frames store two of their three colors at a lower resolution",
            hint="export it as JPEG, or as JPEG 2000 with all colors at full resolution",
        )
    if photometric in ("YBR_ICT", "YBR_RCT"):
        raise UnreadableDicomError(
            f"it says {photometric}, and its JPEG 2000 frames have no color transform, "
            "so that it is not clear which colors are meant",
            hint=_EXPORT_AGAIN,
        )
    return stated


def _jpeg_2000_flags(stream: bytes) -> tuple[bool | None, bool]:
    """Return whether a color transform was applied, and whether colors are subsampled.

    The first is None if the stream does not say so.
    """
    is_transformed = None
    has_subsampled_colors = False
    for marker, segment in _jpeg_2000_segments(stream):
        if marker == _SIZE:
            # Each component has three bytes: its depth, and its sampling in x and in y.
            sampling = {segment[i : i + 2] for i in range(_SIZE_SAMPLING, len(segment), 3)}
            has_subsampled_colors = len(sampling) > 1
        elif marker == _CODING_STYLE and len(segment) > _COLOR_TRANSFORM:
            is_transformed = segment[_COLOR_TRANSFORM] == 1
    return is_transformed, has_subsampled_colors


def _jpeg_2000_segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment of the main header; ITU-T T.800, A.2."""
    offset = stream.find(_START_OF_CODESTREAM) + 2
    if offset < 2:
        return
    while offset + 4 <= len(stream) and stream[offset] == _MARKER:
        marker = stream[offset + 1]
        if marker == _START_OF_TILE:
            return
        (length,) = struct.unpack_from(">H", stream, offset + 2)
        yield marker, stream[offset + 4 : offset + 2 + length]
        offset += 2 + length
