"""Plain images (PNG, JPEG, JPEG 2000, WebP, BMP) in place of a slide, decoded on opening."""

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

import imagecodecs
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from worker.slides import signatures
from worker.slides.errors import NotASlideError, UnreadableImageError
from worker.slides.reader import SlideWarning

_SIGNATURE_BYTES: Final = 16
_JPEG_2000_HEADER_BYTES: Final = 2**20
_JPEG_2000_DEPTH_OFFSET: Final = (
    42  # of Ssiz from the start of the codestream; ISO/IEC 15444-1 A.5.1
)
_PNG_DEPTH_OFFSET: Final = 24  # of the bit depth in the header chunk, which comes first
_PNG_HEADER_BYTES: Final = 33
_PNG_CHUNK: Final = struct.Struct(">I4s")
_PNG_CHECKSUM_BYTES: Final = 4
_SAVE_AS_PYRAMID: Final = "save it as a pyramidal TIFF with small tiles"
_EXPORT_IN_EIGHT_BITS: Final = "export it in 8-bit RGB"
# Pillow knows more formats, some of which start programs (EPS) and some that no scanner writes.
# Image.open is not used, because its limit on large images holds for the whole process.
_FORMATS: Final = (
    (signatures.PNG, PngImagePlugin.PngImageFile),
    (signatures.JPEG, JpegImagePlugin.JpegImageFile),
    (signatures.JPEG_2000_FILE, Jpeg2KImagePlugin.Jpeg2KImageFile),
    (signatures.JPEG_2000_CODESTREAM, Jpeg2KImagePlugin.Jpeg2KImageFile),
    (signatures.RIFF, WebPImagePlugin.WebPImageFile),
    (signatures.BMP, BmpImagePlugin.BmpImageFile),
)
# Each takes four bytes of memory, and as much again while some codecs run.
_MAX_PX: Final = 2**28
_EIGHT_BIT_MODES: Final = frozenset({"L", "LA", "RGB", "RGBA"})
_CONVERTED_MODES: Final = frozenset({"1", "P", "PA", "CMYK", "YCbCr"})
_SIXTEEN_BIT_MODES: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
# What Pillow and imagecodecs raise on damaged files.
_DECODING_ERRORS: Final = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class ImageReader:
    """A `SlideReader` of one decoded image: a single level without tiles. Threads may share it."""

    tile_reader = None
    warnings: tuple[SlideWarning, ...] = ()

    def __init__(self, image: Image.Image, name: str) -> None:
        self._image = image
        self.name = name
        self.properties: dict[str, str] = {}
        self.level_dimensions = (image.size,)
        self.level_downsamples = (1.0,)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> Image.Image:
        """Return `size` pixels from a location on, in RGBA; transparent outside of the image.

        Raises `IndexError` for any level but 0.
        """
        if level != 0:
            raise IndexError(level)
        x, y = location
        width, height = size
        left = max(x, 0)
        top = max(y, 0)
        right = min(x + width, self._image.width)
        bottom = min(y + height, self._image.height)
        region = Image.new("RGBA", size)
        if left < right and top < bottom:
            part = self._image.crop((left, top, right, bottom)).convert("RGBA")
            region.paste(part, (left - x, top - y))
        return region

    def close(self) -> None:
        """Free the pixels. Nothing may be read afterwards."""
        self._image.close()


def open_image(path: Path) -> ImageReader:
    """Decode an image of up to 268 megapixels (WebP: 178); of an animation the first frame.

    Pixels stay where the file stores them: an EXIF orientation is not applied. Of 16 bits the
    high ones are shown, or those that the file says are significant.
    Raises `NotASlideError`, `UnreadableSlideError`.
    """
    with path.open("rb") as file:
        start = file.read(_SIGNATURE_BYTES)
        file.seek(0)
        image_class = _image_class(start)
        if image_class is None:
            raise NotASlideError(
                "OpenSlide and Pillow do not know this kind of file: "
                f"{path.stat().st_size} bytes that begin with {start!r}",
                hint="see that the source gives the slide itself, whole, "
                "and not a page or an archive",
            )
        try:
            return _decode(image_class, file)
        except Image.DecompressionBombError as error:
            # Of a WebP Pillow checks the size itself, by a limit that holds for the whole process.
            raise UnreadableImageError(str(error), hint=_SAVE_AS_PYRAMID) from None
        except MemoryError:
            raise UnreadableImageError("it needs more memory than a decoder may use") from None
        except _DECODING_ERRORS as error:
            raise UnreadableImageError(str(error) or type(error).__name__) from error


def _image_class(start: bytes) -> type[ImageFile.ImageFile] | None:
    for signature, image_class in _FORMATS:
        if start.startswith(signature):
            return image_class
    return None


def _decode(image_class: type[ImageFile.ImageFile], file: BinaryIO) -> ImageReader:
    image = image_class(file)
    width, height = image.size
    if width * height > _MAX_PX:
        raise UnreadableImageError(
            f"it has {width} x {height} px; at most {_MAX_PX} pixels can be decoded at a time",
            hint=_SAVE_AS_PYRAMID,
        )
    if image_class is Jpeg2KImagePlugin.Jpeg2KImageFile and _jpeg_2000_bits(file) > 8:
        # Pillow would round the brightest values up to black.
        return _decode_deep_jpeg_2000(file)
    if image_class is PngImagePlugin.PngImageFile and _png_bits(file) > 8:
        # Pillow would return the high 8 bits alone.
        return _decode_deep_png(file)
    return ImageReader(_to_eight_bits(image), f"Pillow {PIL.__version__} ({image.format})")


def _decode_deep_jpeg_2000(file: BinaryIO) -> ImageReader:
    bits = _jpeg_2000_bits(file)
    file.seek(0)
    samples = imagecodecs.jpeg2k_decode(file.read())
    _refuse_unknown_white(samples, bits)
    eight_bits = (samples >> (bits - 8)).astype(np.uint8)
    name = f"imagecodecs {imagecodecs.__version__} (JPEG2000)"
    return ImageReader(Image.fromarray(eight_bits), name)


def _decode_deep_png(file: BinaryIO) -> ImageReader:
    """Decode 16 bits for each sample.

    Where the file says that fewer are significant (sBIT), its samples should be scaled up to 16
    bits all the same, but some programs store them as they are.
    """
    significant_bits = _png_significant_bits(file)
    file.seek(0)
    samples = imagecodecs.png_decode(file.read())
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[..., 0]
    bits = 16
    if 8 <= significant_bits < 16 and int(samples[..., :3].max()) < 2**significant_bits:
        bits = significant_bits
    _refuse_unknown_white(samples, bits)
    eight_bits = np.minimum(samples >> (bits - 8), 255).astype(np.uint8)
    name = f"imagecodecs {imagecodecs.__version__} (PNG)"
    return ImageReader(Image.fromarray(eight_bits), name)


def _refuse_unknown_white(samples: NDArray[Any], bits: int) -> None:
    """Raise `UnreadableImageError` for 16 bits if the values use less than half of them.

    They have fewer bits than their container, and nothing says how many.
    """
    if bits < 16:
        return
    colors = samples
    if samples.ndim == 3 and samples.shape[2] in {2, 4}:
        colors = samples[..., :-1]  # without transparency
    largest = int(colors.max())
    if largest < 2**15:
        raise UnreadableImageError(
            f"its samples have 16 bits, but their values reach only {largest}, "
            "and nothing in the file says which value is white",
            hint=_EXPORT_IN_EIGHT_BITS,
        )


def _png_bits(file: BinaryIO) -> int:
    """Return the bits of each sample."""
    file.seek(_PNG_DEPTH_OFFSET)
    return file.read(1)[0]


def _png_significant_bits(file: BinaryIO) -> int:
    """Return the most bits of a sample that are significant (sBIT), 0 where that is not stated."""
    offset = _PNG_HEADER_BYTES
    while True:
        file.seek(offset)
        size_bytes, kind = _PNG_CHUNK.unpack(file.read(_PNG_CHUNK.size))
        if kind == b"sBIT":
            return max(file.read(min(size_bytes, 4)), default=0)
        if kind in {b"IDAT", b"IEND"}:
            return 0
        offset += _PNG_CHUNK.size + size_bytes + _PNG_CHECKSUM_BYTES


def _jpeg_2000_bits(file: BinaryIO) -> int:
    """Return the bits of each sample. Raises `UnreadableImageError` if samples are signed."""
    file.seek(0)
    header = file.read(_JPEG_2000_HEADER_BYTES)
    codestream = header.index(signatures.JPEG_2000_CODESTREAM)
    depth = header[codestream + _JPEG_2000_DEPTH_OFFSET]
    if depth & 0x80:
        raise UnreadableImageError("its samples are signed", hint=_EXPORT_IN_EIGHT_BITS)
    return depth + 1


def _to_eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    """Return the decoded image, without a copy if its pixels can be shown as they are stored."""
    if image.mode in _SIXTEEN_BIT_MODES:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in _EIGHT_BIT_MODES | _CONVERTED_MODES:
        raise UnreadableImageError(
            f"its pixels are of the kind {image.mode}; 8 or 16 bits per channel are read",
            hint=_EXPORT_IN_EIGHT_BITS,
        )
    if image.mode in _CONVERTED_MODES or "transparency" in image.info:
        if image.has_transparency_data:
            return image.convert("RGBA")
        return image.convert("RGB")
    image.load()
    return image
