"""How large a pixel is: the ladder from what a slide says to what is said about it.

Owns which statements are believed; knows slides only by their properties, in OpenSlide's names.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from worker.geometry.frame import MppSource

Spacing = tuple[float | None, float | None, MppSource]

_UNITS_UM: Final = {"inch": 25400.0, "centimeter": 10000.0}
_IMAGE_SERVER: Final = "image-server"
_FINEST_UM: Final = 0.01
_COARSEST_UM: Final = 100.0
# Coarser tags (72, 96, 300, 1200 dpi) come from screens and printers.
_COARSEST_TAG_UM: Final = 10.0


def spacing(
    properties: Mapping[str, str], said_mpp: float | None = None, whose: MppSource = "order"
) -> Spacing:
    """Microns per pixel in x and y, and whose word it is: the slide's or its server's, its tags', `whose`."""
    for mpp_x, mpp_y, coarsest, source in _statements(properties, said_mpp, whose):
        if _FINEST_UM < mpp_x < coarsest and _FINEST_UM < mpp_y < coarsest:
            return mpp_x, mpp_y, source
    return None, None, "none"


def server_properties(mpp_x: float | None, mpp_y: float | None) -> dict[str, str]:
    """What an image server says of its image, None where it says nothing, in OpenSlide's names."""
    said = {"openslide.mpp-x": mpp_x, "openslide.mpp-y": mpp_y}
    return {"openslide.vendor": _IMAGE_SERVER} | {
        name: repr(mpp) for name, mpp in said.items() if mpp is not None
    }


def _statements(
    properties: Mapping[str, str], said_mpp: float | None, whose: MppSource
) -> Iterator[tuple[float, float, float, MppSource]]:
    vendor = properties.get("openslide.vendor")
    said_x, said_y = (_number(properties.get(f"openslide.mpp-{axis}", "")) for axis in "xy")
    if vendor == _IMAGE_SERVER:  # which reads them from such tags
        yield said_x, said_y, _COARSEST_TAG_UM, "server"
    else:
        yield said_x, said_y, _COARSEST_UM, "slide"
    unit_um = _UNITS_UM.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    tag_x, tag_y = (_number(properties.get(f"tiff.{axis}Resolution", "")) for axis in "XY")
    yield unit_um / (tag_x or 1.0), unit_um / (tag_y or 1.0), _COARSEST_TAG_UM, "tiff"
    if said_mpp is not None:
        yield said_mpp, said_mpp, _COARSEST_UM, whose


def _number(text: str) -> float:
    """NaN, which no comparison believes, where the text is no number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
