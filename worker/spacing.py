"""How large a pixel is: the ladder from what a slide says to what the order says.

Owns which statements are believed; knows slides only by their properties, in OpenSlide's names.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

Source = Literal["slide", "tiff", "order", "none"]
Spacing = tuple[float | None, float | None, Source]

_UNITS_UM: Final = {"inch": 25400.0, "centimeter": 10000.0}
_FINEST_UM: Final = 0.01
_COARSEST_UM: Final = 100.0
# Coarser tags (72, 96, 300, 1200 dpi) come from screens and printers.
_COARSEST_TAG_UM: Final = 10.0


def spacing(properties: Mapping[str, str], ordered_mpp: float | None) -> Spacing:
    """Microns per pixel in x and y, and whose word it is: the slide's, the TIFF tags', the order's, or nobody's."""
    for mpp_x, mpp_y, coarsest, source in _statements(properties, ordered_mpp):
        if _FINEST_UM < mpp_x < coarsest and _FINEST_UM < mpp_y < coarsest:
            return mpp_x, mpp_y, source
    return None, None, "none"


def _statements(
    properties: Mapping[str, str], ordered_mpp: float | None
) -> Iterator[tuple[float, float, float, Source]]:
    # Of a generic TIFF OpenSlide reports the tags as if they were the slide's own word.
    if properties.get("openslide.vendor") != "generic-tiff":
        slide_x, slide_y = (_number(properties.get(f"openslide.mpp-{axis}", "")) for axis in "xy")
        yield slide_x, slide_y, _COARSEST_UM, "slide"
    unit_um = _UNITS_UM.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    tag_x, tag_y = (_number(properties.get(f"tiff.{axis}Resolution", "")) for axis in "XY")
    yield unit_um / (tag_x or 1.0), unit_um / (tag_y or 1.0), _COARSEST_TAG_UM, "tiff"
    if ordered_mpp is not None:
        yield ordered_mpp, ordered_mpp, _COARSEST_UM, "order"


def _number(text: str) -> float:
    """NaN, which no comparison believes, where the text is no number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
