"""One slide for every row of the table of formats, with the pixels that it must show.

Files that are downloaded are larger than the size below which a region is never fetched alone:
random bytes follow the slide, where no reader looks.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from PIL import Image
from pydicom import uid

from tests.support import vendor_slides
from tests.support.dicom_files import a_dicom_picture, a_dicom_slide
from tests.support.mirax import TILE_PX, a_mirax
from tests.support.multi_file_slides import a_series
from tests.support.slides import shrunk
from worker.geometry.frame import Pixels

WIDTH, HEIGHT = 640, 512
_PADDING_BYTES: Final = 8_200_000
_TRAILING_PADDING: Final = struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, _PADDING_BYTES)
_TILED: Final[dict[str, Any]] = {
    "tile": (64, 64),
    "photometric": "rgb",
    "metadata": None,
    "resolution": (20_000, 20_000),
    "resolutionunit": "CENTIMETER",
}
_SHARP_JPEG: Final[dict[str, Any]] = {
    "compression": "jpeg",
    "compressionargs": {"level": 98},
    "subsampling": (1, 1),
}
_SHARP_DICOM_JPEG: Final[dict[str, Any]] = {"PhotometricInterpretation": "YBR_FULL_422"}
Maker = Callable[[Path, Pixels], Path]
"""Writes a slide at a path without suffix that shows the pixels; the file to open."""


@dataclass(frozen=True)
class Format:
    """A row of the table.

    `off` is by how many grey values a pixel may differ on average, if the compression is lossy.
    `size` is that of the image, `corner` its place on the canvas. `is_series` says whether the
    files are one DICOM series, of which `url` can name only one.
    """

    name: str
    make: Maker
    off: float = 0.0
    size: tuple[int, int] = (WIDTH, HEIGHT)
    corner: tuple[int, int] = (0, 0)
    is_series: bool = False

    def made(self, folder: Path) -> tuple[Path, Pixels]:
        """Return the file to open, in a folder of its own with those that belong to it, and its
        pixels.
        """
        folder.mkdir(parents=True)
        pixels = np.ascontiguousarray(picture()[: self.size[1], : self.size[0]])
        main = self.make(folder / "slide", pixels)
        if not any(path != main for path in folder.iterdir()):
            _lengthen(main)
        return main, pixels

    @property
    def is_dicom(self) -> bool:
        """Whether `urls` can name it."""
        return self.name.startswith("DICOM")


def picture() -> Pixels:
    """Return squares of random grey and larger ones of random tints, and noise.

    JPEG keeps the squares, and no two places are alike: a shift by one pixel changes the image by
    five grey values on average.
    """
    rng = np.random.default_rng(0)
    grey = rng.integers(60, 190, (HEIGHT // 8, WIDTH // 8, 1)).repeat(8, axis=0).repeat(8, axis=1)
    tint = (
        rng.integers(-48, 48, (HEIGHT // 32, WIDTH // 32, 3)).repeat(32, axis=0).repeat(32, axis=1)
    )
    return (grey + tint + rng.integers(0, 4, (HEIGHT, WIDTH, 3))).astype(np.uint8)


def _lengthen(path: Path) -> None:
    with path.open("r+b") as file:
        is_dicom = file.read(132).endswith(b"DICM")
        file.seek(0, 2)
        file.write(
            (_TRAILING_PADDING if is_dicom else b"") + random.Random(1).randbytes(_PADDING_BYTES)
        )


def _aperio(path: Path, pixels: Pixels, **options: Any) -> Path:
    """Write two levels whose description names the vendor."""
    height, width = pixels.shape[:2]
    description = f"Aperio Image Library v11.2.1\r\n{width}x{height} (64x64) |AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path.with_suffix(".svs")) as tiff:
        for factor in (1, 4):
            tiff.write(shrunk(pixels, factor), description=description, **(_TILED | options))
    return path.with_suffix(".svs")


def _tiff(
    path: Path, pixels: Pixels, *, bigtiff: bool = False, suffix: str = ".tif", **options: Any
) -> Path:
    with tifffile.TiffWriter(path.with_suffix(suffix), bigtiff=bigtiff) as tiff:
        tiff.write(pixels, **(_TILED | options))
    return path.with_suffix(suffix)


def _ome(path: Path, pixels: Pixels) -> Path:
    path = path.with_suffix(".ome.tif")
    metadata: dict[str, Any] = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(
        path, pixels, ome=True, **(_TILED | {"compression": "zlib", "metadata": metadata})
    )
    return path


def _picture(suffix: str, path: Path, pixels: Pixels, **options: Any) -> Path:
    Image.fromarray(pixels).save(path.with_suffix(suffix), **options)
    return path.with_suffix(suffix)


def _dicom(path: Path, pixels: Pixels, syntax: str, **elements: Any) -> Path:
    return a_dicom_slide(path.with_suffix(".dcm"), pixels, syntax, **elements)


def _series(path: Path, pixels: Pixels) -> Path:
    a_series(path, pixels)
    return path / "fine.dcm"


FORMATS: Final = (
    Format("Aperio SVS, JPEG", partial(_aperio, **_SHARP_JPEG), off=2),
    Format(
        "Aperio SVS, JPEG 2000", partial(_aperio, compression=33005, compressionargs={"level": 0})
    ),
    Format("Tiled TIFF, Deflate", vendor_slides.generic),
    Format("Tiled TIFF, LZW", partial(_tiff, compression="lzw")),
    Format("Tiled TIFF, Zstd", partial(_tiff, compression="zstd")),
    Format(
        "Tiled TIFF, WebP", partial(_tiff, compression="webp", compressionargs={"lossless": True})
    ),
    Format(
        "Tiled TIFF, JPEG XL",
        partial(_tiff, compression="jpegxl", compressionargs={"lossless": True}),
    ),
    Format("BigTIFF, JPEG", partial(_tiff, bigtiff=True, **_SHARP_JPEG), off=2),
    Format("Striped TIFF", partial(_tiff, tile=None, rowsperstrip=16)),
    Format("OME-TIFF", _ome),
    Format("Leica SCN", vendor_slides.leica, corner=(64, 32)),
    Format("Philips TIFF", vendor_slides.philips),
    Format("Trestle TIFF", vendor_slides.trestle),
    Format("Hamamatsu NDPI", vendor_slides.ndpi, off=2),
    Format("Hamamatsu VMS", vendor_slides.vms, off=2),
    Format(
        "MIRAX",
        lambda path, pixels: a_mirax(path.parent, pixels),
        size=(4 * TILE_PX, 3 * TILE_PX),
        corner=(2 * TILE_PX, TILE_PX),
    ),
    Format(
        "DICOM WSI, one file, JPEG",
        partial(_dicom, syntax=uid.JPEGBaseline8Bit, **_SHARP_DICOM_JPEG),
        off=2,
    ),
    Format("DICOM WSI, one file, JPEG-LS", partial(_dicom, syntax=uid.JPEGLSLossless)),
    Format("DICOM WSI, series", _series, is_series=True),
    Format(
        "DICOM photograph",
        lambda path, pixels: a_dicom_picture(path.with_suffix(".dcm"), pixels, "RGB"),
    ),
    Format("PNG", partial(_picture, ".png", compress_level=1)),
    Format("JPEG", partial(_picture, ".jpg", quality=98, subsampling=0), off=2),
    Format("JPEG 2000", partial(_picture, ".jp2", irreversible=False)),
    Format("WebP", partial(_picture, ".webp", lossless=True, method=0)),
    Format("BMP", partial(_picture, ".bmp")),
)
