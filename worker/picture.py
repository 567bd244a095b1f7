"""Plain pictures (PNG, JPEG, striped TIFF ...) in place of a slide: opened, checked and decoded once.

Owns Pillow's faults; knows nothing of slides beyond the names OpenSlide gives to properties.
"""

import struct
from pathlib import Path
from typing import Final

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from broker.errors import OrderError

# Pillow knows more, among them formats that start programs (EPS) or that no scanner writes.
_FORMATS: Final = ("PNG", "JPEG", "TIFF", "JPEG2000", "WEBP", "BMP")
_MODES: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
_MAX_PX: Final = 2**26
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_RESOLUTION_UNITS: Final = {2: "inch", 3: "centimeter"}
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _TILE_WIDTH, _TILE_LENGTH = 282, 283, 296, 322, 323


def open_picture(path: Path) -> tuple[Image.Image, dict[str, str]]:
    """The picture in RGBA and its TIFF resolution tags in OpenSlide's names.

    Raises `OrderError`: `not_a_slide`, `slide_unreadable`.
    """
    with path.open("rb") as file:
        try:
            with Image.open(file, formats=_FORMATS) as picture:
                _refuse_unfit(picture)
                return picture.convert("RGBA"), _tags(picture)
        except UnidentifiedImageError:
            raise _not_a_slide(path) from None
        except Image.DecompressionBombError:
            raise _too_large("more pixels than Pillow decodes") from None
        except _BROKEN as error:
            raise OrderError(
                "slide_unreadable",
                f"The picture cannot be decoded: {error}",
                hint="see that the file is whole and opens in a viewer",
            ) from error


def _refuse_unfit(picture: Image.Image) -> None:
    width, height = picture.size
    if width * height > _MAX_PX:
        raise _too_large(f"{width} x {height} px")
    if picture.mode not in _MODES:
        raise OrderError(
            "slide_unreadable",
            f"The picture has pixels of the kind {picture.mode}; 8 bits per channel are needed",
            hint="export it in 8-bit RGB",
        )
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        tile = [picture.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
        if not all(isinstance(edge, int) for edge in tile) or tile[0] * tile[1] > _MAX_PX:
            raise _too_large(f"tiles of {tile[0]} x {tile[1]} px")


def _too_large(size: str) -> OrderError:
    return OrderError(
        "slide_unreadable",
        f"The picture has {size}; at most {_MAX_PX} pixels can be decoded at a time",
        hint="save it as a pyramidal TIFF with small tiles",
    )


def _not_a_slide(path: Path) -> OrderError:
    with path.open("rb") as file:
        start = file.read(16)
    return OrderError(
        "not_a_slide",
        f"OpenSlide and Pillow do not know this kind of file: {path.stat().st_size} bytes that begin with {start!r}",
        hint="see that the source gives the slide itself, whole, and not a page or an archive",
    )


def _tags(picture: Image.Image) -> dict[str, str]:
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return {}
    tags = picture.tag_v2
    return {
        "tiff.ResolutionUnit": _RESOLUTION_UNITS.get(tags.get(_RESOLUTION_UNIT, 2), "none"),
        "tiff.XResolution": str(tags.get(_X_RESOLUTION, 0)),
        "tiff.YResolution": str(tags.get(_Y_RESOLUTION, 0)),
    }
