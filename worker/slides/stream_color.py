"""What a compressed image states of itself: its color space, its bits and its components.

Programs write streams of one kind and state another one in the header of the TIFF or DICOM file
around them. A JPEG stream has marks of its color space (ITU-T T.871, T.872 6.5.3), a JPEG 2000
codestream a flag (ITU-T T.800, A.6.1). A stream without marks leaves its color to the file: JPEG
in full resolution, without markers and with components numbered 1 to 3, may hold RGB or YCbCr.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from worker.slides import signatures

Color = Literal["RGB", "YBR"]
"""The color space of three samples; YBR is YCbCr."""
HEADER_BYTES: Final = 2**16
"""How much of a stream `read_stream_header` should see. ICC profiles may come first."""

_MARKER: Final = 0xFF
_LONE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RSTn, SOI: without a length
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_APP0: Final = 0xE0
_APP14: Final = 0xEE
# All SOFn; 0xC4, 0xC8 and 0xCC are other segments. 0xF7 is JPEG-LS (ITU-T T.87).
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_FRAMES: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF, 0xF7})
_ADOBE_COLORS: Final[dict[int, Color]] = {0: "RGB", 1: "YBR"}
_ADOBE_TRANSFORM: Final = 11  # offset in the segment
_COMPONENT_COUNT: Final = 5
_COMPONENTS: Final = 6
_COMPONENT_BYTES: Final = 3
_IDS_OF_RGB: Final = b"RGB"

_SIZE: Final = 0x51
_CODING_STYLE: Final = 0x52
_START_OF_TILE: Final = 0x90
_SIZE_COMPONENTS: Final = 36  # offset in the segment: depth and sampling of each component
_SIGNED: Final = 0x80
_COLOR_TRANSFORM: Final = 4  # offset in the segment
_COLOR_BOX: Final = b"colr\x01"  # of a JP2 file, with an enumerated color space
_COLOR_BOX_SYCC: Final = 18
_COLOR_BOX_VALUE: Final = 7  # offset of the color space from the start of the box's type


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a JPEG, JPEG-LS or JPEG 2000 stream states.

    `bits`: of a sample, the most of any component. `colors`: of which color spaces it has marks;
    two contradict each other. `is_subsampled`: some components have fewer samples than others.
    `is_lossless_jpeg`: a JPEG whose codec returns the stored samples. `is_transformed`: the color
    transform of JPEG 2000, which its codec undoes; None for JPEG and where the stream is cut.
    `is_sycc`: the stream is in a JP2 file that states YCbCr.
    """

    bits: int
    components: int
    colors: frozenset[Color]
    is_signed: bool = False
    is_subsampled: bool = False
    is_lossless_jpeg: bool = False
    is_transformed: bool | None = None
    is_sycc: bool = False

    @property
    def color(self) -> Color | None:
        """The color space that the marks state, None where there are none or two."""
        if len(self.colors) == 1:
            return next(iter(self.colors))
        return None


def read_stream_header(stream: bytes) -> StreamHeader | None:
    """Return what the stream states; its first `HEADER_BYTES` suffice.

    None for other content, and for a stream that is cut before it states its components.
    """
    if stream.startswith(signatures.JPEG):
        return _jpeg_header(stream)
    return _jpeg_2000_header(stream)


def _jpeg_header(stream: bytes) -> StreamHeader | None:
    """Return the header of a JPEG stream.

    Encoders write the JFIF marker into lossless streams of RGB, too, so it says nothing there.
    """
    colors: set[Color] = set()
    has_jfif = False
    for marker, segment in _jpeg_segments(stream):
        if marker == _APP0 and segment.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) > _ADOBE_TRANSFORM:
            color = _ADOBE_COLORS.get(segment[_ADOBE_TRANSFORM])
            if color is not None:
                colors.add(color)
        elif marker in _START_OF_FRAME and len(segment) > _COMPONENT_COUNT:
            is_lossless = marker in _LOSSLESS_FRAMES
            if has_jfif and not is_lossless:
                colors.add("YBR")
            return _frame_header(segment, colors, is_lossless=is_lossless)
    return None


def _frame_header(segment: bytes, colors: set[Color], *, is_lossless: bool) -> StreamHeader:
    """Return the header of a stream with this frame header and these marks; ITU-T T.81, B.2.2."""
    count = segment[_COMPONENT_COUNT]
    components = segment[_COMPONENTS : _COMPONENTS + count * _COMPONENT_BYTES]
    is_subsampled = len(set(components[1::_COMPONENT_BYTES])) > 1
    found = set(colors)
    if count == 3 and components[::_COMPONENT_BYTES] == _IDS_OF_RGB:
        found.add("RGB")
    # Only chroma is stored at less than the full resolution.
    if count == 3 and is_subsampled:
        found.add("YBR")
    if count != 3:
        found.clear()
    return StreamHeader(
        bits=segment[0],
        components=count,
        colors=frozenset(found),
        is_subsampled=is_subsampled,
        is_lossless_jpeg=is_lossless,
    )


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


def _jpeg_2000_header(stream: bytes) -> StreamHeader | None:
    start = stream.find(signatures.JPEG_2000_CODESTREAM)
    if start < 0:
        return None
    components = b""
    is_transformed = None
    for marker, segment in _jpeg_2000_segments(stream, start):
        if marker == _SIZE:
            components = segment[_SIZE_COMPONENTS:]
        elif marker == _CODING_STYLE and len(segment) > _COLOR_TRANSFORM:
            is_transformed = segment[_COLOR_TRANSFORM] != 0
    depths = components[::_COMPONENT_BYTES]
    if not depths:
        return None
    samplings = set(
        zip(components[1::_COMPONENT_BYTES], components[2::_COMPONENT_BYTES], strict=False)
    )
    is_subsampled = len(samplings) > 1
    is_sycc = _states_sycc(stream[:start])
    colors: set[Color] = set()
    if len(depths) == 3 and is_transformed:
        colors.add("RGB")
    if len(depths) == 3 and (is_subsampled or is_sycc):
        colors.add("YBR")
    return StreamHeader(
        bits=max(depth & ~_SIGNED for depth in depths) + 1,
        components=len(depths),
        colors=frozenset(colors),
        is_signed=any(depth & _SIGNED for depth in depths),
        is_subsampled=is_subsampled,
        is_transformed=is_transformed,
        is_sycc=is_sycc,
    )


def _states_sycc(boxes: bytes) -> bool:
    """Return whether the boxes of a JP2 file state YCbCr; ISO/IEC 15444-1, I.5.3.3.

    That they state RGB says nothing: encoders do so whatever they are given.
    """
    start = boxes.find(_COLOR_BOX)
    value = boxes[start + _COLOR_BOX_VALUE : start + _COLOR_BOX_VALUE + 4]
    return start >= 0 and value == _COLOR_BOX_SYCC.to_bytes(4, "big")


def _jpeg_2000_segments(stream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment of the main header; ITU-T T.800, A.2."""
    offset = start + 2
    while offset + 4 <= len(stream) and stream[offset] == _MARKER:
        marker = stream[offset + 1]
        if marker == _START_OF_TILE:
            return
        (length,) = struct.unpack_from(">H", stream, offset + 2)
        yield marker, stream[offset + 4 : offset + 2 + length]
        offset += 2 + length
