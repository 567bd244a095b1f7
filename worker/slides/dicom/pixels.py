"""Pixels of one DICOM frame: from stored bytes to red, green and blue.

Decides which transfer syntaxes and photometric interpretations are decoded, and by which library.
Knows no files and no levels.
"""

from collections.abc import Callable
from typing import Any, Final, cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from worker.geometry.frame import Pixels
from worker.slides.dicom.file import DECODING_ERRORS
from worker.slides.dicom.frame_color import color_of_samples
from worker.slides.dicom.header import Header, PixelFormat
from worker.slides.dicom.lookup_tables import eight_bit_table
from worker.slides.errors import UnreadableDicomError
from worker.slides.reader import BLOCK_PX
from worker.slides.stream_color import Color

_SAMPLES: Final = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
"""How many samples a pixel has in each photometric interpretation."""

StoredValues = NDArray[np.uint8] | NDArray[np.uint16]
_Codec = Callable[[bytes, Header], Any]

_NATIVE_SYNTAXES: Final = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)


def refuse_unsupported(header: Header) -> None:
    """Raise `UnreadableSlideError` if the file's pixels cannot be decoded."""
    pixel_format = header.pixel_format
    codec = _CODECS.get(header.syntax)
    if header.syntax not in _NATIVE_SYNTAXES and codec is None:
        name = header.syntax.name
        if name == str(header.syntax):
            name = "unknown"
        raise UnreadableDicomError(
            f"its transfer syntax ({name}) is not decoded",
            hint="export it with JPEG, JPEG-LS, JPEG 2000 or RLE pixels",
        )
    if _SAMPLES.get(pixel_format.photometric) != pixel_format.samples:
        raise UnreadableDicomError(
            f"it has {pixel_format.samples} samples for each pixel of the photometric "
            f"interpretation {pixel_format.photometric[:16]!r}"
        )
    if pixel_format.photometric in ("YBR_ICT", "YBR_RCT") and codec is not _decode_jpeg_2000:
        raise UnreadableDicomError(
            f"{pixel_format.photometric} is a thing of JPEG 2000, "
            f"and its pixels are {header.syntax.name}"
        )
    _refuse_unsupported_bits(pixel_format)
    _refuse_unsupported_size(pixel_format)


def _refuse_unsupported_bits(pixel_format: PixelFormat) -> None:
    bits = pixel_format.bits_stored
    allocated = pixel_format.bits_allocated
    if allocated not in (8, 16) or not 1 <= bits <= allocated:
        raise UnreadableDicomError(
            f"its samples have {bits} bits in {allocated}; 8 or 16 are needed",
            hint="export it with 8 or 16 bits for each sample",
        )
    if pixel_format.photometric.startswith("YBR_FULL") and bits != 8:
        raise UnreadableDicomError(
            f"it has {pixel_format.photometric} of {bits} bits; 8 are needed"
        )


def _refuse_unsupported_size(pixel_format: PixelFormat) -> None:
    rows = pixel_format.rows
    columns = pixel_format.columns
    if rows < 1 or columns < 1:
        raise UnreadableDicomError(f"its frames have {columns} x {rows} px")
    if rows * columns > BLOCK_PX:
        raise UnreadableDicomError(
            f"its frames have {columns} x {rows} px; at most {BLOCK_PX} are decoded at a time",
            hint="save it as a tiled whole slide image",
        )


def decode_frame(header: Header, data: bytes) -> StoredValues:
    """Return the stored bits of one frame as unsigned numbers.

    The shape is (rows, columns) or (rows, columns, 3). Raises `UnreadableSlideError`.
    """
    try:
        if header.syntax in _NATIVE_SYNTAXES:
            return _decode_native(header, data)
        codec = _CODECS[header.syntax]
        values: StoredValues = codec(data, header)
    except DECODING_ERRORS as error:
        raise UnreadableDicomError(
            f"a frame cannot be decoded as {header.syntax.name}: {error}"
        ) from None
    # Some codecs extend the sign of signed values. The stored bits are the same.
    stored_bits = values.dtype.type(2**header.pixel_format.bits_stored - 1)
    return cast("StoredValues", values & stored_bits)


def to_rgb(header: Header, data: bytes, values: StoredValues, table: Pixels | None) -> Pixels:
    """Return the colors of stored values, (rows, columns, 3).

    `data` are the bytes that they were decoded from: a compressed frame may state its color space.
    `table` is the lookup table of an image with one sample for each pixel, else None.
    Raises `UnreadableSlideError`.
    """
    if table is not None:
        return table[values]
    pixel_format = header.pixel_format
    if pixel_format.bits_stored == 8:
        colors = values.astype(np.uint8, copy=False)
    else:
        colors = eight_bit_table(pixel_format.bits_stored)[values]
    codec_returns_rgb = _CODECS.get(header.syntax) is _decode_jpeg
    if codec_returns_rgb or _color_of_samples(header, data) == "RGB":
        return colors
    return convert_color_space(colors, "YBR_FULL", "RGB")


def _color_of_samples(header: Header, data: bytes) -> Color:
    pixel_format = header.pixel_format
    return color_of_samples(header.syntax, pixel_format.photometric, pixel_format.bits_stored, data)


def _decode_native(header: Header, data: bytes) -> StoredValues:
    pixel_format = header.pixel_format
    options: dict[str, Any] = {
        "rows": pixel_format.rows,
        "columns": pixel_format.columns,
        "samples_per_pixel": pixel_format.samples,
        "photometric_interpretation": pixel_format.photometric,
        "planar_configuration": pixel_format.planar,
        "bits_allocated": pixel_format.bits_allocated,
        "bits_stored": pixel_format.bits_stored,
        "pixel_representation": 0,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "pixel_vr": header.pixels.vr or "OW",
    }
    values, _ = get_decoder(header.syntax).as_array(data, index=0, raw=True, **options)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _new_frame(pixel_format: PixelFormat, *, is_planar: bool = False) -> StoredValues:
    """Return memory for a decoded frame.

    A codec that is given it refuses a frame of another size before it decodes anything.
    """
    shape: tuple[int, ...] = (pixel_format.rows, pixel_format.columns)
    if pixel_format.samples > 1 and is_planar:
        shape = (pixel_format.samples, *shape)
    elif pixel_format.samples > 1:
        shape = (*shape, pixel_format.samples)
    if pixel_format.bits_stored <= 8:
        return np.empty(shape, np.uint8)
    return np.empty(shape, np.uint16)


def _decode_jpeg(data: bytes, header: Header) -> Any:
    pixel_format = header.pixel_format
    if pixel_format.samples == 1:
        return imagecodecs.jpeg8_decode(data, out=_new_frame(pixel_format))
    # Without marks of the color space libjpeg would guess.
    color_space = "YCBCR"
    if _color_of_samples(header, data) == "RGB":
        color_space = "RGB"
    return imagecodecs.jpeg8_decode(
        data, colorspace=color_space, outcolorspace="RGB", out=_new_frame(pixel_format)
    )


def _decode_jpeg_lossless(data: bytes, header: Header) -> Any:
    return imagecodecs.jpegsof3_decode(data, out=_new_frame(header.pixel_format, is_planar=True))


def _decode_jpeg_ls(data: bytes, header: Header) -> Any:
    pixel_format = header.pixel_format
    try:
        return imagecodecs.jpegls_decode(data, out=_new_frame(pixel_format))
    except ValueError:
        # It has another shape: a scan for each plane, or one that contradicts the header.
        return imagecodecs.jpegls_decode(data, out=_new_frame(pixel_format, is_planar=True))


def _decode_jpeg_2000(data: bytes, header: Header) -> Any:
    # Also for high-throughput codestreams: OpenJPEG clips values that a lossy one overshoots, and
    # raises for broken ones. imagecodecs' OpenJPH lets values wrap and returns memory unchanged.
    return imagecodecs.jpeg2k_decode(data, out=_new_frame(header.pixel_format))


def _decode_rle(data: bytes, header: Header) -> Any:
    pixel_format = header.pixel_format
    sample_bytes = pixel_format.bits_allocated // 8
    dtype = f"<u{sample_bytes}"
    rows = pixel_format.rows
    columns = pixel_format.columns
    size_bytes = pixel_format.samples * rows * columns * sample_bytes
    samples = imagecodecs.dicomrle_decode(data, dtype, out=size_bytes)
    planes = np.frombuffer(samples, dtype).reshape(-1, rows, columns)
    if pixel_format.samples > 1:
        return np.moveaxis(planes, 0, -1)
    return planes[0]


_CODECS: Final[dict[str, _Codec]] = {
    uid.JPEGBaseline8Bit: _decode_jpeg,
    uid.JPEGExtended12Bit: _decode_jpeg,
    uid.JPEGLossless: _decode_jpeg_lossless,
    uid.JPEGLosslessSV1: _decode_jpeg_lossless,
    uid.JPEGLSLossless: _decode_jpeg_ls,
    uid.JPEGLSNearLossless: _decode_jpeg_ls,
    uid.JPEG2000Lossless: _decode_jpeg_2000,
    uid.JPEG2000: _decode_jpeg_2000,
    uid.HTJ2KLossless: _decode_jpeg_2000,
    uid.HTJ2KLosslessRPCL: _decode_jpeg_2000,
    uid.HTJ2K: _decode_jpeg_2000,
    uid.RLELossless: _decode_rle,
}
"""The codec of each compressed transfer syntax."""
