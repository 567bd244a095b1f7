"""DICOM files made for tests: tiled slides, single images, and files with false elements."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders.base import get_encoder
from pydicom.pixels.processing import convert_color_space

from worker.geometry.frame import Pixels

Samples = NDArray[Any]
ADOBE_MARKER: Final = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
"""Without its last byte, which is 0 for RGB and 1 for YCbCr."""
SECRET: Final = "Okonkwo^Adaeze"
"""The patient's name in every file made here: it may appear in no message."""


def _rle(samples: Samples) -> bytes:
    kind = "RGB" if samples.ndim == 3 else "MONOCHROME2"
    options = _layout(samples, kind) | {"number_of_frames": 1, "planar_configuration": 0}
    return bytes(
        next(get_encoder(uid.RLELossless).iter_encode(np.ascontiguousarray(samples), **options))
    )


CODECS: Final[dict[str, Callable[[Samples], bytes]]] = {
    uid.JPEGBaseline8Bit: lambda samples: imagecodecs.jpeg8_encode(samples, 95),
    uid.JPEGExtended12Bit: lambda samples: imagecodecs.jpeg8_encode(samples, 95, bitspersample=12),
    uid.JPEGLossless: lambda samples: _jpeg_lossless(samples, 4),
    uid.JPEGLosslessSV1: lambda samples: _jpeg_lossless(samples, 1),
    uid.JPEGLSLossless: lambda samples: _jpeg_ls(samples, 0),
    uid.JPEGLSNearLossless: lambda samples: _jpeg_ls(samples, 2),
    uid.JPEG2000Lossless: lambda samples: imagecodecs.jpeg2k_encode(
        samples, codecformat="j2k", reversible=True
    ),
    uid.JPEG2000: lambda samples: imagecodecs.jpeg2k_encode(samples, 60, codecformat="j2k"),
    uid.HTJ2KLossless: lambda samples: imagecodecs.htj2k_encode(samples, reversible=True),
    uid.HTJ2K: lambda samples: imagecodecs.htj2k_encode(samples, reversible=False),
    uid.RLELossless: _rle,
}
"""How one frame is compressed, by transfer syntax."""

_WITHOUT_COLOR_TRANSFORM: Final[dict[str, Callable[[Samples], bytes]]] = {
    uid.JPEG2000Lossless: lambda samples: imagecodecs.jpeg2k_encode(
        samples, codecformat="j2k", reversible=True, mct=False
    ),
    uid.JPEG2000: lambda samples: imagecodecs.jpeg2k_encode(
        samples, 60, codecformat="j2k", mct=False
    ),
    uid.HTJ2KLossless: lambda samples: imagecodecs.htj2k_encode(
        samples, reversible=True, rgb=False
    ),
    uid.HTJ2K: lambda samples: imagecodecs.htj2k_encode(samples, reversible=False, rgb=False),
}
"""The same for samples that are luma and chroma; PS3.5 8.2.4."""

LOSSLESS: Final = (
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.RLELossless,
)

NATIVE: Final = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)


def a_dicom_slide(
    path: Path,
    pixels: Samples,
    syntax: str = uid.JPEGLSLossless,
    tile: int = 64,
    missing: Iterable[tuple[int, int]] | None = None,
    downsample: int = 1,
    **elements: Any,
) -> Path:
    """Write one level of a whole slide.

    It is TILED_FULL, or TILED_SPARSE without the `missing` columns and rows of tiles. Its pixels
    are 0.25 um wide and 0.5 um high, times `downsample`.
    """
    height, width = pixels.shape[:2]
    columns = -(-width // tile)
    rows = -(-height // tile)
    padded = np.zeros((rows * tile, columns * tile, *pixels.shape[2:]), pixels.dtype)
    padded[:height, :width] = pixels
    left_out = set(missing or ())
    grid = [
        (column, row)
        for row in range(rows)
        for column in range(columns)
        if (column, row) not in left_out
    ]
    frames = [
        padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        for column, row in grid
    ]
    data_set = _data_set(
        uid.VLWholeSlideMicroscopyImageStorage,
        frames[0],
        "RGB" if pixels.ndim == 3 else "MONOCHROME2",
    )
    data_set.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data_set.TotalPixelMatrixColumns, data_set.TotalPixelMatrixRows = width, height
    data_set.SharedFunctionalGroupsSequence = [
        _of(PixelMeasuresSequence=[_of(PixelSpacing=[0.0005 * downsample, 0.00025 * downsample])])
    ]
    data_set.NumberOfFrames, data_set.DimensionOrganizationType = len(frames), "TILED_FULL"
    if missing is not None:
        data_set.DimensionOrganizationType = "TILED_SPARSE"
        data_set.PerFrameFunctionalGroupsSequence = [
            _at(1 + column * tile, 1 + row * tile) for column, row in grid
        ]
    return write(path, data_set, frames, syntax, **elements)


def a_dicom_picture(
    path: Path,
    samples: Samples,
    photometric: str,
    syntax: str = uid.ExplicitVRLittleEndian,
    **elements: Any,
) -> Path:
    """Write an image that is not a slide.

    `samples` are (rows, columns) or (rows, columns, 3), as they are stored.
    """
    data_set = _data_set(uid.SecondaryCaptureImageStorage, samples, photometric)
    return write(path, data_set, [samples], syntax, **elements)


def write(
    path: Path, data_set: Dataset, frames: list[Samples], syntax: str, **elements: Any
) -> Path:
    """Write frames and elements in a transfer syntax.

    `elements` replace those that are there; None deletes one. `table` is "basic" (the default),
    "none" or "extended" offsets. `codec` compresses one frame in place of the syntax's own.
    """
    table = elements.pop("table", "basic")
    codec = elements.pop("codec", None) or CODECS.get(syntax)
    if uid.UID(syntax).is_encapsulated:
        if data_set.PhotometricInterpretation.startswith("YBR_FULL"):
            codec = _WITHOUT_COLOR_TRANSFORM.get(syntax, codec)
        _put_compressed(data_set, [codec(frame) for frame in frames], table)
    else:
        order = (2, 0, 1) if elements.get("PlanarConfiguration") == 1 else (0, 1, 2)
        data = b"".join(
            (frame.transpose(order) if frame.ndim == 3 else frame).tobytes() for frame in frames
        )
        data_set.PixelData = data + b"\0" * (len(data) % 2)
        data_set["PixelData"].VR = "OB" if frames[0].itemsize == 1 else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(data_set, keyword)
        else:
            setattr(data_set, keyword, value)
    return save(path, data_set, syntax)


def save(path: Path, data_set: Dataset, syntax: str) -> Path:
    """Write a data set as a file."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = uid.UID(syntax)
    data_set.save_as(path, enforce_file_format=True)
    return path


def ybr(pixels: Pixels) -> Pixels:
    """Return RGB as full-range YCbCr."""
    return convert_color_space(pixels, "RGB", "YBR_FULL")


def paired(pixels: Pixels) -> bytes:
    """Return RGB as uncompressed YBR_FULL_422: two neighbouring pixels share one color."""
    full = ybr(pixels)
    pairs = np.stack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]], axis=2)
    return pairs.tobytes()


def _unsigned(samples: Samples) -> Samples:
    """Return the same bits as unsigned values, since these compressions have no sign."""
    return samples.view(f"u{samples.itemsize}")


def _jpeg_lossless(samples: Samples, predictor: int) -> bytes:
    space, samples = "RGB" if samples.ndim == 3 else "GRAYSCALE", _unsigned(samples)
    stream = bytes(
        imagecodecs.jpeg8_encode(
            samples, lossless=True, predictor=predictor, colorspace=space, outcolorspace=space
        )
    )
    return without_color_marks(stream)


def without_color_marks(stream: bytes) -> bytes:
    """Return a JPEG of R, G, B without the Adobe marker and the component ids that say so."""
    adobe = stream.find(ADOBE_MARKER)
    if adobe >= 0:
        stream = stream[:adobe] + stream[adobe + len(ADOBE_MARKER) + 1 :]
    end = stream.find(b"\xff\xda") + 14  # the header of the first scan
    header = bytearray(stream[:end])
    for number, letter in enumerate(b"RGB", 1):
        for at in (header.find(b"\xff\xc0"), header.find(b"\xff\xc3")):
            if at >= 0 and header[at + 7 + 3 * number] == letter:
                header[at + 7 + 3 * number] = number
        if header[end - 11 + 2 * number] == letter:
            header[end - 11 + 2 * number] = number
    return bytes(header) + stream[end:]


def _jpeg_ls(samples: Samples, near: int) -> bytes:
    # Noise grows.
    return bytes(imagecodecs.jpegls_encode(_unsigned(samples), near, out=2 * samples.nbytes + 1024))


def _put_compressed(data_set: Dataset, frames: list[bytes], table: str) -> None:
    if table == "extended":
        data, offsets, lengths = encapsulate_extended(frames)
        data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
    else:
        data = encapsulate(frames, has_bot=table == "basic")
    data_set.PixelData = data
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True


def _data_set(sop_class: str, frame: Samples, photometric: str) -> Dataset:
    data_set = _of(
        SOPClassUID=sop_class,
        SOPInstanceUID=uid.generate_uid(),
        SeriesInstanceUID=uid.generate_uid(),
    )
    data_set.PatientName = SECRET
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    layout = _layout(frame, photometric)
    for keyword, option in (
        ("Rows", "rows"),
        ("Columns", "columns"),
        ("SamplesPerPixel", "samples_per_pixel"),
        ("PhotometricInterpretation", "photometric_interpretation"),
        ("BitsAllocated", "bits_allocated"),
        ("BitsStored", "bits_stored"),
        ("PixelRepresentation", "pixel_representation"),
    ):
        setattr(data_set, keyword, layout[option])
    data_set.HighBit = data_set.BitsStored - 1
    if frame.ndim == 3:
        data_set.PlanarConfiguration = 0
    return data_set


def _layout(samples: Samples, photometric: str) -> dict[str, Any]:
    return {
        "rows": samples.shape[0],
        "columns": samples.shape[1],
        "samples_per_pixel": 3 if samples.ndim == 3 else 1,
        "photometric_interpretation": photometric,
        "bits_allocated": samples.itemsize * 8,
        "bits_stored": samples.itemsize * 8,
        "pixel_representation": int(samples.dtype.kind == "i"),
    }


def _at(column: int, row: int) -> Dataset:
    place = _of(
        ColumnPositionInTotalImagePixelMatrix=column, RowPositionInTotalImagePixelMatrix=row
    )
    return _of(PlanePositionSlideSequence=[place])


def _of(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
