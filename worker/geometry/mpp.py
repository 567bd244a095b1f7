"""Chooses the microns per pixel of a slide from its metadata and from what others state about it.

Knows slides only by their properties, under OpenSlide's names.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from broker.orders.fields import COARSEST_MPP, FINEST_MPP
from worker.geometry.frame import MppSource

Spacing = tuple[float | None, float | None, MppSource]
"""Microns per pixel in x and in y, and where they come from."""
_Statement = tuple[float, float, float, MppSource]

# TIFF's own units and, from millimeter on, those that ImageJ states in its description.
_UNITS_UM: Final = {
    "inch": 25400.0,
    "centimeter": 10000.0,
    "millimeter": 1000.0,
    "micron": 1.0,
    "nanometer": 0.001,
}
_IMAGE_SERVER: Final = "image-server"
# Coarser tags (72, 96, 300, 1200 dpi) come from screens and printers.
_COARSEST_TAG_UM: Final = 10.0


def spacing(
    properties: Mapping[str, str],
    other_mpp: float | None = None,
    other_source: MppSource = "order",
) -> Spacing:
    """Return the first plausible microns per pixel in x and y, with their source.

    The order is: the slide's metadata or its image server, the TIFF resolution tags, `other_mpp`.
    Both values are None, and the source is "none", where no statement is plausible.
    """
    for mpp_x, mpp_y, coarsest, source in _statements(properties, other_mpp, other_source):
        if FINEST_MPP < mpp_x < coarsest and FINEST_MPP < mpp_y < coarsest:
            return mpp_x, mpp_y, source
    return None, None, "none"


def server_properties(mpp_x: float | None, mpp_y: float | None) -> dict[str, str]:
    """Return what an image server states about its image, under OpenSlide's property names.

    A value that is None is left out.
    """
    properties = {"openslide.vendor": _IMAGE_SERVER}
    if mpp_x is not None:
        properties["openslide.mpp-x"] = repr(mpp_x)
    if mpp_y is not None:
        properties["openslide.mpp-y"] = repr(mpp_y)
    return properties


def _statements(
    properties: Mapping[str, str], other_mpp: float | None, other_source: MppSource
) -> Iterator[_Statement]:
    """Yield (mpp_x, mpp_y, coarsest plausible value, source), the most reliable statement first."""
    mpp_x = _number(properties.get("openslide.mpp-x", ""))
    mpp_y = _number(properties.get("openslide.mpp-y", ""))
    if properties.get("openslide.vendor") == _IMAGE_SERVER:
        # image servers read their values from resolution tags
        yield mpp_x, mpp_y, _COARSEST_TAG_UM, "server"
    else:
        yield mpp_x, mpp_y, COARSEST_MPP, "slide"
    unit_um = _UNITS_UM.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    tag_x = _number(properties.get("tiff.XResolution", "")) or 1.0
    tag_y = _number(properties.get("tiff.YResolution", "")) or 1.0
    yield unit_um / tag_x, unit_um / tag_y, _COARSEST_TAG_UM, "tiff"
    if other_mpp is not None:
        yield other_mpp, other_mpp, COARSEST_MPP, other_source


def _number(text: str) -> float:
    """Return the number, or NaN, which fails every comparison, where the text is no number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
