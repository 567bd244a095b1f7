"""The parameters of an image request of the IIIF Image API 3.0, level 1, as boxes and sizes.

Arithmetic only, from https://iiif.io/api/image/3.0/: chapter 4 says what a parameter may be, the
compliance document what level 1 has to answer. Beside that, `w,h` and `pct:x,y,w,h` are answered.
What the specification knows and this server does not is answered 501, all else 400.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import OrderError
from worker.geometry.frame import Frame

MOST_PX: Final = 4096
"""The longest side of an answered image."""
TILE_PX: Final = 512
MEDIA_TYPE: Final = 'application/ld+json;profile="http://iiif.io/api/image/3/context.json"'
PROFILE_LINK: Final = '<http://iiif.io/api/image/3/level1.json>;rel="profile"'

_MOST_CHARS: Final = 100
_ROUNDING_DIGITS: Final = 6  # what floating point may add to a whole pixel is less
_NUMBER: Final = r"[0-9]{1,10}(?:\.[0-9]{1,10})?"
_REGION_PX: Final = re.compile(r"([0-9]{1,10}),([0-9]{1,10}),([0-9]{1,10}),([0-9]{1,10})")
_REGION_PERCENT: Final = re.compile(rf"pct:({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})")
_SIZE: Final = re.compile(r"([0-9]{0,10}),([0-9]{0,10})")
# Upscaling (^), the best size within a box (!) and a share of the region are of level 2.
_OTHER_SIZE: Final = re.compile(
    rf"\^max|\^?pct:{_NUMBER}|\^?![0-9]{{1,10}},[0-9]{{1,10}}"
    r"|\^[0-9]{1,10},[0-9]{0,10}|\^,[0-9]{1,10}"
)
_ROTATION: Final = re.compile(rf"!?({_NUMBER})")
_OTHER_QUALITIES: Final = frozenset({"color", "gray", "bitonal"})
_OTHER_FORMATS: Final = frozenset({"tif", "png", "gif", "jp2", "pdf", "webp"})
_SPECIFICATION: Final = "see https://iiif.io/api/image/3.0/, level 1"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A box of level 0 in pixels, inside the slide, and the size of its picture in pixels."""

    x: int
    y: int
    width: int
    height: int
    width_px: int
    height_px: int

    @property
    def downsample_x(self) -> float:
        """Return how many level-0 pixels lie beside one another in a pixel of the picture."""
        return self.width / self.width_px

    @property
    def downsample_y(self) -> float:
        """Return how many level-0 pixels lie below one another in a pixel of the picture."""
        return self.height / self.height_px


def parse(region: str, size: str, frame: Frame) -> ImageRequest:
    """Return the request for a region and a size of a slide with this frame.

    Raise `OrderError`: `image_request_invalid` or `not_implemented`.
    """
    x, y, width, height = _box(region, frame.width, frame.height)
    width_px, height_px = _size(size, width, height)
    return ImageRequest(x, y, width, height, width_px, height_px)


def check_form(rotation: str, quality: str, image_format: str) -> None:
    """Raise `OrderError` unless the image is asked for upright, in default quality and as JPEG."""
    match = _ROTATION.fullmatch(rotation[:_MOST_CHARS])
    if match is None or float(match[1]) > 360:
        raise _malformed("rotation", rotation)
    if rotation.startswith("!") or float(match[1]) != 0:
        raise _not_implemented("rotation", rotation, "0")
    if quality in _OTHER_QUALITIES:
        raise _not_implemented("quality", quality, "default")
    if quality != "default":
        raise _malformed("quality", quality)
    if image_format in _OTHER_FORMATS:
        raise _not_implemented("format", image_format, "jpg")
    if image_format != "jpg":
        raise _malformed("format", image_format)


def info(identifier: str, frame: Frame) -> dict[str, Any]:
    """Return info.json of a slide whose images are below the URI `identifier`."""
    largest = max(frame.width, frame.height)
    steps = math.ceil(math.log2(max(1.0, largest / TILE_PX)))
    return {
        "@context": "http://iiif.io/api/image/3/context.json",
        "id": identifier,
        "type": "ImageService3",
        "protocol": "http://iiif.io/api/image",
        "profile": "level1",
        "width": frame.width,
        "height": frame.height,
        "maxWidth": MOST_PX,
        "maxHeight": MOST_PX,
        "tiles": [
            {
                "width": TILE_PX,
                "height": TILE_PX,
                "scaleFactors": [2**step for step in range(steps + 1)],
            }
        ],
        "extraFeatures": ["regionByPct", "sizeByWh"],
        # Not of IIIF: microns for each pixel in x, and whose word that is.
        "mpp": frame.mpp_x,
        "mpp_source": frame.mpp_source,
    }


def _box(region: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the part of the region that lies in the slide."""
    if region == "full":
        return 0, 0, width, height
    if region == "square":
        edge = min(width, height)
        return (width - edge) // 2, (height - edge) // 2, edge, edge
    left, top, right, bottom = _edges(region, width, height)
    right = min(right, width)
    bottom = min(bottom, height)
    if left >= right or top >= bottom:
        raise _malformed("region", region, f"the slide has {width} x {height} px")
    return left, top, right - left, bottom - top


def _edges(region: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom as they were asked for."""
    match = _REGION_PX.fullmatch(region)
    if match:
        left, top, box_width, box_height = map(int, match.groups())
        return left, top, left + box_width, top + box_height
    match = _REGION_PERCENT.fullmatch(region)
    if match is None:
        raise _malformed("region", region)
    x, y, share_x, share_y = map(float, match.groups())
    if share_x == 0 or share_y == 0:
        raise _malformed("region", region, "it has no extent")
    return (
        math.floor(x * width / 100),
        math.floor(y * height / 100),
        math.ceil(round((x + share_x) * width / 100, _ROUNDING_DIGITS)),
        math.ceil(round((y + share_y) * height / 100, _ROUNDING_DIGITS)),
    )


def _size(size: str, width: int, height: int) -> tuple[int, int]:
    """Return width and height of the picture of a region of `width` x `height` px."""
    if size == "max":
        return _largest(width, height)
    width_px, height_px = _stated_size(size, width, height)
    if width_px == 0 or height_px == 0:
        raise _malformed("size", size, "a picture has at least one pixel")
    if width_px > width or height_px > height:
        raise _malformed("size", size, f"the region has {width} x {height} px")
    if width_px > MOST_PX or height_px > MOST_PX:
        raise _malformed("size", size, f"at most {MOST_PX} x {MOST_PX} px")
    return width_px, height_px


def _stated_size(size: str, width: int, height: int) -> tuple[int, int]:
    """Return the size with the length that is left out, which keeps the region's proportions."""
    if _OTHER_SIZE.fullmatch(size):
        raise _not_implemented("size", size, "max, w, or ,h or w,h")
    match = _SIZE.fullmatch(size)
    if match is None or size == ",":
        raise _malformed("size", size)
    if not match[1]:
        height_px = int(match[2])
        return max(1, round(width * height_px / height)), height_px
    width_px = int(match[1])
    if not match[2]:
        return width_px, max(1, round(height * width_px / width))
    return width_px, int(match[2])


def _largest(width: int, height: int) -> tuple[int, int]:
    """Return the size of the region, made smaller where it is above the limit."""
    shrink = max(1.0, width / MOST_PX, height / MOST_PX)
    return max(1, round(width / shrink)), max(1, round(height / shrink))


def _malformed(name: str, value: str, reason: str = "") -> OrderError:
    detail = f"the {name} {value[:_MOST_CHARS]!r} cannot be answered"
    if reason:
        detail += f": {reason}"
    return OrderError("image_request_invalid", detail, hint=_SPECIFICATION, field=name)


def _not_implemented(name: str, value: str, answered: str) -> OrderError:
    return OrderError(
        "not_implemented",
        f"the {name} {value[:_MOST_CHARS]!r} is not answered here, only {answered}",
        hint=_SPECIFICATION,
        field=name,
    )
