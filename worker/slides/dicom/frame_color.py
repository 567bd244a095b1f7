"""The color space of a compressed frame: by its own stream, else by the header of its file.

Converters write streams of one color space and state another one in PhotometricInterpretation. The
header decides only where the stream has no marks.
"""

from typing import Final

from pydicom import uid

from worker.slides.errors import UnreadableDicomError
from worker.slides.stream_color import Color, StreamHeader, read_stream_header

_JPEG: Final = frozenset(
    {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1}
)
_LOSSY_JPEG: Final = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_JPEG_LS: Final = frozenset({uid.JPEGLSLossless, uid.JPEGLSNearLossless})
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


def color_of_samples(syntax: str, photometric: str, bits_stored: int, stream: bytes) -> Color:
    """Return the color space of a frame of three samples, once its codec has decoded it.

    A codec of JPEG 2000 undoes the stream's own color transform; the others return what is stored.
    Raises `UnreadableSlideError` where the stream and the header leave it open, and where the
    stream has other bits than BitsStored, which would show another brightness.
    """
    stated: Color = "YBR" if photometric.startswith("YBR_FULL") else "RGB"
    if syntax not in _JPEG | _JPEG_LS | _JPEG_2000:
        return stated
    header = read_stream_header(stream)
    if header is None:
        return stated  # a broken stream, which its codec refuses
    if header.bits != bits_stored:
        raise UnreadableDicomError(
            f"it says that {bits_stored} bits of a sample are stored, and its frames have "
            f"{header.bits}",
            hint="export it again, with the BitsStored that its frames have",
        )
    if syntax in _JPEG:
        return _jpeg_color(header) or stated
    if syntax in _JPEG_2000:
        return _jpeg_2000_color(header, photometric, stated)
    return stated


def openslide_shows_true_colors(
    syntax: str, photometric: str, bits_stored: int, stream: bytes
) -> bool:
    """Return whether OpenSlide decodes the frame in its own color space.

    It decodes JPEG as PhotometricInterpretation states, and takes what its codec of JPEG 2000
    returns for RGB. Raises as `color_of_samples`.
    """
    actual = color_of_samples(syntax, photometric, bits_stored, stream)
    if syntax in _LOSSY_JPEG:
        return (actual == "RGB") == (photometric == "RGB")
    return syntax not in _JPEG_2000 or actual == "RGB"


def _jpeg_color(header: StreamHeader) -> Color | None:
    """Return the color space that a JPEG's marks state, None where it has none."""
    if len(header.colors) > 1:
        raise UnreadableDicomError(
            "its JPEG frames have marks of RGB and of YCbCr, "
            "so that it is not clear which colors are meant",
            hint="export it again, as JPEG in YCbCr or uncompressed",
        )
    return header.color


def _jpeg_2000_color(header: StreamHeader, photometric: str, stated: Color) -> Color:
    if header.is_transformed is None:
        return stated  # a broken stream, which its codec refuses
    if header.is_transformed and stated == "RGB":
        return "RGB"
    if header.is_transformed:
        raise UnreadableDicomError(
            f"it says {photometric}, and its JPEG 2000 frames have the color transform of RGB, "
            "so that it is not clear which colors are meant",
            hint=_EXPORT_AGAIN,
        )
    if header.is_subsampled:
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
