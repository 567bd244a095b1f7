"""Whether an answer is the picture that was asked for, by its first bytes and its header: nothing is decoded here.

Owns what counts. Must not know how answers come, nor any protocol.
"""

import io
import struct
from typing import Final

from PIL import Image, UnidentifiedImageError

from broker.errors import OrderError
from worker.geometry.frame import Area
from worker.slides import signatures

KINDS: Final = {".png": "PNG", ".jpg": "JPEG"}
"""The formats that are taken, by the suffix of their files."""
_ENDS: Final = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}
_STARTS: Final = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff"}
_END_BYTES: Final = 64  # some programs add a few bytes after the end
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_BOMB: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class SmallerError(OrderError):
    """The picture has the shape of its box and fewer pixels: `largest_px`, which is what the server gives at most."""

    def __init__(self, detail: str, largest_px: tuple[int, int]) -> None:
        super().__init__(
            "slide_unreadable", detail, hint="the image server limits its answers; raise its limit"
        )
        self.largest_px = largest_px


def most_bytes(box: Area) -> int:
    """What a picture of the box can have at most: 16 bits in four channels, not compressed, and 1 MB around them."""
    return 8 * box.width * box.height + 2**20


def judge(head: bytes) -> None:
    """Raises `OrderError("not_a_slide")` when these first bytes are of no picture that is taken."""
    _suffix(head, "where a part of the slide was asked for")


def whole(data: bytes) -> bool:
    """Whether a picture comes to its end; anything but a picture or nothing is whole in its way."""
    suffix = next((suffix for suffix, start in _STARTS.items() if data.startswith(start)), None)
    return _ENDS[suffix] in data[-_END_BYTES:] if suffix else bool(data)


def checked(data: bytes, box: Area) -> str:
    """The suffix for a picture's file, if it is one of the box.

    Raises `OrderError`: `not_a_slide` for what is no picture, `slide_unreadable` for one that is cut short, cannot be
    opened, or has another size; `SmallerError` among these.
    """
    asked = f"where {box.width} x {box.height} px at ({box.x}, {box.y}) were asked for"
    suffix = _suffix(data, asked)
    if not whole(data):
        raise _unreadable(f"a picture that ends too early, after {len(data)} bytes, {asked}")
    width, height, mode = _header(data, suffix, asked)
    if mode not in _MODES:
        raise _unreadable(f"pixels of the kind {mode} {asked}; 8 bits per channel are needed")
    if (width, height) == (box.width, box.height):
        return suffix
    detail = f"The image server answered {width} x {height} px {asked}"
    if width <= box.width and height <= box.height and _same_shape(width, height, box):
        raise SmallerError(detail, (width, height))
    raise OrderError(
        "slide_unreadable",
        detail,
        hint="see that the server serves regions of this image in a viewer",
    )


def _suffix(data: bytes, asked: str) -> str:
    try:
        suffix = signatures.suffix(data[:1024])
    except OrderError as error:
        raise _no_picture(error.detail, asked) from None
    if suffix not in KINDS:
        raise _no_picture("what came is neither PNG nor JPEG", asked)
    return suffix


def _header(data: bytes, suffix: str, asked: str) -> tuple[int, int, str]:
    try:
        with Image.open(io.BytesIO(data), formats=(KINDS[suffix],)) as picture:
            return *picture.size, picture.mode
    except _BOMB:
        raise _unreadable(f"far more pixels than that {asked}") from None
    except UnidentifiedImageError:
        raise _unreadable(f"a {KINDS[suffix]} whose header is damaged {asked}") from None
    except _BROKEN as error:
        raise _unreadable(f"a picture that cannot be opened ({error}) {asked}") from None


def _same_shape(width: int, height: int, box: Area) -> bool:
    """Whether one scale, rounded, makes the size of the box's."""
    return abs(width * box.height - height * box.width) <= max(box.width, box.height)


def _unreadable(what: str) -> OrderError:
    return OrderError(
        "slide_unreadable", f"The image server answered {what}", hint="try the region in a viewer"
    )


def _no_picture(what: str, asked: str) -> OrderError:
    hint = "open source.url in a viewer; a page instead of a picture often asks for a login"
    return OrderError(
        "not_a_slide", f"The image server: {what}, {asked}", hint=hint, field="source.url"
    )
