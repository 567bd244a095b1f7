"""One small whole file of every format, to be damaged: larger than one tile, quick to classify."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from pydicom import uid

from tests.support import vendor_slides
from tests.support.dicom_files import a_dicom_picture, a_dicom_slide
from tests.support.mirax import TILE_PX, a_mirax
from tests.support.slides import a_picture
from worker.geometry.frame import Pixels

WIDTH, HEIGHT = 256, 192
MIRAX = "mirax/"
MIRAX_FILES = ("slide.mrxs", "slide/Slidedat.ini", "slide/Index.dat", "slide/Data0000.dat")
COMPRESSIONS = ("lzw", "zlib", "jpeg", "jpeg2000", "jpegxl", "webp", "zstd", "packbits")
SYNTAXES = {
    "native": uid.ExplicitVRLittleEndian,
    "jpegls": uid.JPEGLSLossless,
    "jpeg2000": uid.JPEG2000Lossless,
    "rle": uid.RLELossless,
}


@cache
def corpus() -> dict[str, bytes]:
    """Return the files' bytes by name."""
    pixels = a_picture(WIDTH, HEIGHT)
    with tempfile.TemporaryDirectory() as temporary_folder:
        folder = Path(temporary_folder)
        for compression in COMPRESSIONS:
            _tiff(folder / f"{compression}.tif", pixels, compression=compression)
        _tiff(folder / "striped.tif", pixels, tile=None, rowsperstrip=16)
        _tiff(folder / "bigtiff.tif", pixels, bigtiff=True)
        for kind in ("png", "jpg", "webp", "bmp", "jp2"):
            Image.fromarray(pixels).save(folder / f"picture.{kind}")
        for maker in (
            vendor_slides.aperio,
            vendor_slides.leica,
            vendor_slides.philips,
            vendor_slides.trestle,
            vendor_slides.ndpi,
        ):
            maker(folder / maker.__name__, pixels)
        for name, syntax in SYNTAXES.items():
            a_dicom_slide(folder / f"slide-{name}.dcm", pixels, syntax)
        a_dicom_picture(
            folder / "grey.dcm",
            pixels[..., 0].astype(np.uint16) * 16,
            "MONOCHROME2",
            BitsStored=12,
            HighBit=11,
        )
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        a_mirax(folder / MIRAX, a_picture(TILE_PX, TILE_PX))
        return files | {MIRAX + name: (folder / MIRAX / name).read_bytes() for name in MIRAX_FILES}


def _tiff(path: Path, pixels: Pixels, **options: Any) -> None:
    usual: dict[str, Any] = {
        "tile": (64, 64),
        "photometric": "rgb",
        "compression": "zlib",
        "metadata": None,
    }
    with tifffile.TiffWriter(path, bigtiff=options.pop("bigtiff", False)) as tiff:
        tiff.write(pixels, **(usual | options))
