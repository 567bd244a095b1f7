"""One stored frame of a DICOM file made red, green and blue.

Owns which transfer syntaxes and photometric interpretations are decoded, and by what; knows no file and no place.
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
from worker.slides.dicom.file import BROKEN, unreadable
from worker.slides.dicom.header import Head, Stored
from worker.slides.dicom.lookup_tables import evenly
from worker.slides.reader import BLOCK_PX

_SAMPLES: Final = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip

Values = NDArray[np.uint8] | NDArray[np.uint16]
_Codec = Callable[[bytes, Stored], Any]

_NATIVE: Final = frozenset({
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian
})  # fmt: skip


def refuse_unfit(head: Head) -> None:
    """Raises `OrderError`: `slide_unreadable` where nothing here decodes the file's pixels."""
    stored, codec = head.stored, _codecs().get(head.syntax)
    if head.syntax not in _NATIVE and codec is None:
        name = "unknown" if head.syntax.name == str(head.syntax) else head.syntax.name
        hint = "export it with JPEG, JPEG-LS, JPEG 2000 or RLE pixels"
        raise unreadable(f"its transfer syntax ({name}) is not decoded", hint)
    if _SAMPLES.get(stored.photometric) != stored.samples:
        said = stored.photometric[:16]
        raise unreadable(
            f"it has {stored.samples} samples for each pixel of the photometric interpretation {said!r}"
        )
    if stored.photometric in ("YBR_ICT", "YBR_RCT") and codec is not _jpeg_2000:
        raise unreadable(
            f"{stored.photometric} is a thing of JPEG 2000, and its pixels are {head.syntax.name}"
        )
    _refuse_unfit_bits(stored)
    _refuse_unfit_size(stored)


def _refuse_unfit_bits(stored: Stored) -> None:
    bits = stored.bits_stored
    if stored.bits_allocated not in (8, 16) or not 1 <= bits <= stored.bits_allocated:
        hint = "export it with 8 or 16 bits for each sample"
        raise unreadable(
            f"its samples have {bits} bits in {stored.bits_allocated}; 8 or 16 are needed", hint
        )
    if stored.photometric.startswith("YBR_FULL") and bits != 8:
        raise unreadable(f"it has {stored.photometric} of {bits} bits; 8 are needed")


def _refuse_unfit_size(stored: Stored) -> None:
    rows, columns = stored.rows, stored.columns
    if rows < 1 or columns < 1:
        raise unreadable(f"its frames have {columns} x {rows} px")
    if rows * columns > BLOCK_PX:
        hint = "save it as a tiled whole slide image"
        raise unreadable(
            f"its frames have {columns} x {rows} px; at most {BLOCK_PX} are decoded at a time", hint
        )


def values_of(head: Head, data: bytes) -> Values:
    """The stored bits of one frame as unsigned numbers, (rows, columns) or (rows, columns, 3).

    Raises `OrderError`: `slide_unreadable`.
    """
    try:
        if head.syntax in _NATIVE:
            return _native(head, data)
        values: Values = _codecs()[head.syntax](data, head.stored)
    except BROKEN as error:
        raise unreadable(f"a frame cannot be decoded as {head.syntax.name}: {error}") from None
    # Signed values come with their sign or without; their bits are the same.
    return cast("Values", values & values.dtype.type(2**head.stored.bits_stored - 1))


def coloured(head: Head, values: Values, table: Pixels | None) -> Pixels:
    """The (rows, columns, 3) colours of stored values; `table` has those of single samples."""
    if table is not None:
        return table[values]
    if head.stored.bits_stored != 8:
        return evenly(head.stored.bits_stored)[values]
    colours = values.astype(np.uint8, copy=False)
    is_converted = _codecs().get(head.syntax) is _jpeg
    if head.stored.photometric.startswith("YBR_FULL") and not is_converted:
        return convert_color_space(colours, "YBR_FULL", "RGB")
    return colours


def _native(head: Head, data: bytes) -> Values:
    stored = head.stored
    options: dict[str, Any] = {
        "rows": stored.rows,
        "columns": stored.columns,
        "samples_per_pixel": stored.samples,
        "photometric_interpretation": stored.photometric,
        "planar_configuration": stored.planar,
        "bits_allocated": stored.bits_allocated,
        "bits_stored": stored.bits_stored,
        "pixel_representation": 0,
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "pixel_vr": head.pixels.vr or "OW",
    }
    values, _ = get_decoder(head.syntax).as_array(data, index=0, raw=True, **options)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _codecs() -> dict[str, _Codec]:
    return {
        uid.JPEGBaseline8Bit: _jpeg,
        uid.JPEGExtended12Bit: _jpeg,
        uid.JPEGLossless: _jpeg_lossless,
        uid.JPEGLosslessSV1: _jpeg_lossless,
        uid.JPEGLSLossless: _jpeg_ls,
        uid.JPEGLSNearLossless: _jpeg_ls,
        uid.JPEG2000Lossless: _jpeg_2000,
        uid.JPEG2000: _jpeg_2000,
        uid.HTJ2KLossless: _jpeg_2000,
        uid.HTJ2KLosslessRPCL: _jpeg_2000,
        uid.HTJ2K: _jpeg_2000,
        uid.RLELossless: _rle,
    }


def _room(stored: Stored, *, is_planar: bool = False) -> Values:
    """What a frame is decoded into: a codec refuses a frame of another size before it decodes anything."""
    shape: tuple[int, ...] = (stored.rows, stored.columns)
    if stored.samples > 1:
        shape = (stored.samples, *shape) if is_planar else (*shape, stored.samples)
    return np.empty(shape, np.uint8) if stored.bits_stored <= 8 else np.empty(shape, np.uint16)


def _jpeg(data: bytes, stored: Stored) -> Any:
    markers = data[: data.find(b"\xff\xda")]
    # Without a marker that says otherwise libjpeg takes three components for YCbCr.
    is_plain = stored.photometric == "RGB" and b"JFIF\0" not in markers and b"Adobe" not in markers
    space = "RGB" if is_plain else None
    shown = None if stored.samples == 1 else "RGB"
    return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=shown, out=_room(stored))


def _jpeg_lossless(data: bytes, stored: Stored) -> Any:
    return imagecodecs.jpegsof3_decode(data, out=_room(stored, is_planar=True))


def _jpeg_ls(data: bytes, stored: Stored) -> Any:
    try:
        return imagecodecs.jpegls_decode(data, out=_room(stored))
    except ValueError:
        # Of another shape: with a scan for each plane, or not what the file says, which is told now.
        return imagecodecs.jpegls_decode(data, out=_room(stored, is_planar=True))


def _jpeg_2000(data: bytes, stored: Stored) -> Any:
    # High-throughput codestreams too: OpenJPEG clips what the lossy ones overshoot and tells of broken ones, where
    # imagecodecs' OpenJPH lets values wrap and gives back memory as it was.
    return imagecodecs.jpeg2k_decode(data, out=_room(stored))


def _rle(data: bytes, stored: Stored) -> Any:
    size = stored.samples * stored.rows * stored.columns * (stored.bits_allocated // 8)
    samples = imagecodecs.dicomrle_decode(data, f"<u{stored.bits_allocated // 8}", out=size)
    planes = np.frombuffer(samples, f"<u{stored.bits_allocated // 8}").reshape(
        -1, stored.rows, stored.columns
    )
    return np.moveaxis(planes, 0, -1) if stored.samples > 1 else planes[0]
