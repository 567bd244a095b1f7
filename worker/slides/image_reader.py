"""Plain pictures (PNG, JPEG, JPEG 2000, WebP, BMP) in place of a slide: opened, checked and decoded once.

Owns Pillow's faults; knows nothing of pyramids, tissue or where the file came from.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import imagecodecs
import numpy as np
import PIL
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from broker.errors import OrderError

_JPEG_2000_SIZE: Final = b"\xff\x4f\xff\x51"  # start of codestream, then the size marker
_JPEG_2000_HEAD_BYTES: Final = 2**20
# Pillow knows more, among them formats that start programs (EPS) or that no scanner writes. These are called by name,
# for Image.open refuses large pictures by a limit that holds for the whole process.
_FORMATS: Final = (
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Jpeg2KImagePlugin.Jpeg2KImageFile),
    (_JPEG_2000_SIZE, Jpeg2KImagePlugin.Jpeg2KImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
)
_MAX_PX: Final = 2**28  # four bytes for each, and as much again while some codecs are at work
_READ_AS_THEY_ARE: Final = frozenset({"L", "LA", "RGB", "RGBA"})
_CONVERTED: Final = frozenset({"1", "P", "PA", "CMYK", "YCbCr"})
_SIXTEEN_BITS: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_BROKEN: Final = (
    ArithmeticError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    struct.error, zlib.error,
)  # fmt: skip


class Picture:
    """A decoded picture, as a `Pyramid` of one level. Threads may share it."""

    stored = None

    def __init__(self, picture: Image.Image, name: str) -> None:
        self._picture = picture
        self.name = name
        self.properties: dict[str, str] = {}
        self.level_dimensions = (picture.size,)
        self.level_downsamples = (1.0,)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """`size` pixels from a location on, in RGBA; transparent outside the picture. There is level 0 alone."""
        if level != 0:
            raise IndexError(level)
        region = Image.new("RGBA", size)
        (x, y), (width, height) = location, size
        box = (
            max(x, 0),
            max(y, 0),
            min(x + width, self._picture.width),
            min(y + height, self._picture.height),
        )
        if box[0] < box[2] and box[1] < box[3]:
            region.paste(self._picture.crop(box).convert("RGBA"), (box[0] - x, box[1] - y))
        return region

    def close(self) -> None:
        """Let go of the pixels. Nothing may be read any more."""
        self._picture.close()


def open_picture(path: Path) -> Picture:
    """Decode a picture of up to 268 megapixels; of an animation the first frame.

    Pixels are where the file stores them: an EXIF orientation is not applied. Of 16 bits the high ones are shown.
    Raises `OrderError`: `not_a_slide`, `slide_unreadable`.
    """
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        kind = next((kind for magic, kind in _FORMATS if start.startswith(magic)), None)
        if kind is None:
            raise _not_a_slide(path, start)
        try:
            return _decoded(kind, file)
        except MemoryError:
            raise _unreadable("it needs more memory than a decoder may use") from None
        except _BROKEN as error:
            raise _unreadable(str(error) or type(error).__name__) from error


def _decoded(kind: type[ImageFile.ImageFile], file: BinaryIO) -> Picture:
    picture = kind(file)
    width, height = picture.size
    if width * height > _MAX_PX:
        raise _unreadable(
            f"it has {width} x {height} px; at most {_MAX_PX} pixels can be decoded at a time",
            "save it as a pyramidal TIFF with small tiles",
        )
    bits = _jpeg_2000_bits(file) if kind is Jpeg2KImagePlugin.Jpeg2KImageFile else 8
    if bits > 8:
        file.seek(0)
        samples = imagecodecs.jpeg2k_decode(file.read())
        return Picture(
            Image.fromarray((samples >> (bits - 8)).astype(np.uint8)),
            f"imagecodecs {imagecodecs.__version__} (JPEG2000)",
        )
    return Picture(_eight_bits(picture), f"Pillow {PIL.__version__} ({picture.format})")


def _jpeg_2000_bits(file: BinaryIO) -> int:
    """Bits per sample, of which Pillow shows 8, but rounds the brightest up to black."""
    file.seek(0)
    head = file.read(_JPEG_2000_HEAD_BYTES)
    depth = head[head.index(_JPEG_2000_SIZE) + 42]
    if depth & 0x80:
        raise _unreadable("its samples are signed", "export it in 8-bit RGB")
    return depth + 1


def _eight_bits(picture: ImageFile.ImageFile) -> Image.Image:
    """Decode it, without a second copy where its pixels can be shown as they are."""
    if picture.mode in _SIXTEEN_BITS:
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode not in _READ_AS_THEY_ARE | _CONVERTED:
        raise _unreadable(
            f"its pixels are of the kind {picture.mode}; 8 or 16 bits per channel are read",
            "export it in 8-bit RGB",
        )
    if picture.mode in _CONVERTED or "transparency" in picture.info:
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture.load()
    return picture


def _unreadable(
    detail: str, hint: str = "see that the file is whole and opens in a viewer"
) -> OrderError:
    return OrderError("slide_unreadable", f"The picture cannot be decoded: {detail}", hint=hint)


def _not_a_slide(path: Path, start: bytes) -> OrderError:
    return OrderError(
        "not_a_slide",
        f"OpenSlide and Pillow do not know this kind of file: {path.stat().st_size} bytes that begin with {start!r}",
        hint="see that the source gives the slide itself, whole, and not a page or an archive",
    )
