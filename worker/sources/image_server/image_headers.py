"""Whether an answer is the image that was requested, by its first bytes and its header.

No pixel is decoded here.
"""

import io
import struct
from typing import Final

from PIL import Image, UnidentifiedImageError

from broker.errors import OrderError
from worker.geometry.frame import Area
from worker.slides import signatures
from worker.slides.errors import NotASlideError, UnreadableSlideError

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG"}
"""Pillow's names of the accepted formats, by the suffix of their files."""
_STARTS: Final = {".png": signatures.PNG, ".jpg": signatures.JPEG}
_ENDS: Final = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}
_HEAD_BYTES: Final = 1024
_END_BYTES: Final = 64  # some programs add a few bytes after the end
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
_OPENING_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_TOO_MANY_PIXELS: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class SmallerImageError(UnreadableSlideError):
    """An image has the shape of its box and fewer pixels.

    `size_px`: its width and height, which is the most that the server gives.
    """

    def __init__(self, detail: str, size_px: tuple[int, int]) -> None:
        super().__init__(detail, hint="the image server limits its answers; raise its limit")
        self.size_px = size_px


def max_bytes(box: Area) -> int:
    """Return the most bytes that an image of the box can have.

    They are those of four uncompressed channels of 16 bits, and 1 MiB more.
    """
    return 8 * box.width * box.height + 2**20


def check_is_image(head: bytes) -> None:
    """Raise `NotASlideError` where these first bytes are not those of a PNG or JPEG."""
    _suffix(head, "where a part of the slide was asked for")


def is_complete(data: bytes) -> bool:
    """Return whether an image comes to its end; of other content, whether there is any."""
    for suffix, start in _STARTS.items():
        if data.startswith(start):
            return _ENDS[suffix] in data[-_END_BYTES:]
    return bool(data)


def checked_suffix(data: bytes, box: Area) -> str:
    """Return the suffix for an image's file if it shows the box.

    Raise `NotASlideError` for what is no image; `UnreadableSlideError` for one that is cut short,
    cannot be opened, or has another size, and `SmallerImageError` among these.
    """
    requested = f"where {box.width} x {box.height} px at ({box.x}, {box.y}) were asked for"
    suffix = _suffix(data, requested)
    if not is_complete(data):
        raise _unreadable(f"a picture that ends too early, after {len(data)} bytes, {requested}")
    width, height, mode = _header(data, suffix, requested)
    if mode not in _MODES:
        raise _unreadable(f"pixels of the kind {mode} {requested}; 8 bits per channel are needed")
    if (width, height) == (box.width, box.height):
        return suffix
    detail = f"The image server answered {width} x {height} px {requested}"
    if width <= box.width and height <= box.height and _has_shape_of(box, width, height):
        raise SmallerImageError(detail, (width, height))
    raise UnreadableSlideError(
        detail, hint="see that the server serves regions of this image in a viewer"
    )


def _suffix(data: bytes, requested: str) -> str:
    try:
        suffix = signatures.suffix(data[:_HEAD_BYTES])
    except OrderError as error:
        raise _not_an_image(error.detail, requested) from None
    if suffix not in _FORMATS:
        raise _not_an_image("what came is neither PNG nor JPEG", requested)
    return suffix


def _header(data: bytes, suffix: str, requested: str) -> tuple[int, int, str]:
    """Return width, height and Pillow's mode."""
    pillow_format = _FORMATS[suffix]
    try:
        with Image.open(io.BytesIO(data), formats=(pillow_format,)) as image:
            return image.width, image.height, image.mode
    except _TOO_MANY_PIXELS:
        raise _unreadable(f"far more pixels than that {requested}") from None
    except UnidentifiedImageError:
        raise _unreadable(f"a {pillow_format} whose header is damaged {requested}") from None
    except _OPENING_ERRORS as error:
        raise _unreadable(f"a picture that cannot be opened ({error}) {requested}") from None


def _has_shape_of(box: Area, width: int, height: int) -> bool:
    """Return whether the size is that of the box at some scale, rounded."""
    return abs(width * box.height - height * box.width) <= max(box.width, box.height)


def _unreadable(answer: str) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"The image server answered {answer}", hint="try the region in a viewer"
    )


def _not_an_image(reason: str, requested: str) -> NotASlideError:
    error = NotASlideError(
        f"The image server: {reason}, {requested}",
        hint="open source.url in a viewer; a page instead of a picture often asks for a login",
    )
    error.field = "source.url"
    return error
