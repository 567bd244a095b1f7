"""What a TIFF says of its slide in words: resolution tags, Aperio's description, OME-XML; in OpenSlide's names.

Owns those texts; knows no pixels.
"""

import io
import re
from typing import Final
from xml.etree import ElementTree as ET

from tifffile import TiffPage

from worker.slides.tiff.pages import unreadable

_RESOLUTION_UNITS: Final = {1: "none", 2: "inch", 3: "centimeter"}
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_APERIO_MPP: Final = re.compile(r"\|\s*MPP\s*=\s*([0-9.]{1,20})")
_UNITS_UM: Final = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}
_PIXELS: Final = "}Pixels"


def properties(page: TiffPage) -> dict[str, str]:
    """What level 0 says of itself. Raises `OrderError` `slide_unreadable` where OME-XML tells of several planes."""
    description = page.description
    if description.startswith("Aperio"):
        return _resolution(page) | _aperio(description)
    if description.endswith("OME>"):
        return _resolution(page) | _ome(_ome_pixels(description), page)
    return _resolution(page)


def _resolution(page: TiffPage) -> dict[str, str]:
    said = {
        "tiff.ResolutionUnit": _RESOLUTION_UNITS.get(page.tags.valueof(_RESOLUTION_UNIT, 2), "none")
    }
    for name, tag in (("tiff.XResolution", _X_RESOLUTION), ("tiff.YResolution", _Y_RESOLUTION)):
        ratio = page.tags.valueof(tag)
        if isinstance(ratio, tuple) and len(ratio) == 2 and ratio[1]:
            said[name] = str(ratio[0] / ratio[1])
    return said


def _aperio(description: str) -> dict[str, str]:
    found = _APERIO_MPP.search(description)
    mpp = {"openslide.mpp-x": found[1], "openslide.mpp-y": found[1]} if found else {}
    return {"openslide.vendor": "aperio"} | mpp


def _ome_pixels(description: str) -> dict[str, str]:
    """The attributes of the first image's Pixels; nothing after it is looked at."""
    if "<!DOCTYPE" in description:
        raise unreadable("its OME-XML has a document type of its own")
    try:
        # Without a DTD there are no entities to be expanded or fetched.
        for _, element in ET.iterparse(io.BytesIO(description.encode()), events=("start",)):  # noqa: S314
            if element.tag.endswith(_PIXELS):
                return dict(element.attrib)
    except ET.ParseError as error:
        raise unreadable(f"its OME-XML is malformed: {error}") from error
    return {}


def _ome(pixels: dict[str, str], page: TiffPage) -> dict[str, str]:
    planes = {axis: pixels.get(f"Size{axis}", "1") for axis in "ZTC"}
    if (planes["Z"], planes["T"]) != ("1", "1") or planes["C"] not in {
        "1",
        str(page.samplesperpixel),
    }:
        told = ", ".join(f"Size{axis} {size}" for axis, size in planes.items())
        raise unreadable(
            f"its OME-XML tells of focal planes, times or channels ({told}); one RGB picture is read"
        )
    said = {"openslide.vendor": "ome-tiff"}
    for axis in "XY":
        unit_um = _UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}", "")
        if unit_um and re.fullmatch(r"[0-9.eE+-]{1,30}", size):
            said[f"openslide.mpp-{axis.lower()}"] = _in_um(size, unit_um)
    return said


def _in_um(size: str, unit_um: float) -> str:
    try:
        return str(float(size) * unit_um)
    except ValueError:
        return size
