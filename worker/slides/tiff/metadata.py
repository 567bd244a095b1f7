"""Metadata of a TIFF by OpenSlide's names: resolution tags, Aperio's description and OME-XML."""

import io
import re
from typing import Final
from xml.etree import ElementTree as ET

from tifffile import TiffPage

from worker.slides.errors import UnreadableTiffError

_RESOLUTION_UNITS: Final = {1: "none", 2: "inch", 3: "centimeter"}
_INCH: Final = 2
_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_RESOLUTION_UNIT: Final = 296
_APERIO_MPP: Final = re.compile(r"\|\s*MPP\s*=\s*([0-9.]{1,20})")
_UNITS_UM: Final = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}
_OME_PIXELS_TAG: Final = "}Pixels"
_NUMBER: Final = re.compile(r"[0-9.eE+-]{1,30}")


def properties(page: TiffPage) -> dict[str, str]:
    """Return the metadata of level 0.

    Raises `UnreadableSlideError` for malformed OME-XML, or if it describes several planes.
    """
    description = page.description
    if description.startswith("Aperio"):
        return _resolution(page) | _aperio_properties(description)
    if description.endswith("OME>"):
        return _resolution(page) | _ome_properties(_ome_pixels(description), page)
    return _resolution(page)


def _resolution(page: TiffPage) -> dict[str, str]:
    unit = page.tags.valueof(_RESOLUTION_UNIT, _INCH)
    found = {"tiff.ResolutionUnit": _RESOLUTION_UNITS.get(unit, "none")}
    for name, tag in (("tiff.XResolution", _X_RESOLUTION), ("tiff.YResolution", _Y_RESOLUTION)):
        ratio = page.tags.valueof(tag)
        if isinstance(ratio, tuple) and len(ratio) == 2 and ratio[1]:
            found[name] = str(ratio[0] / ratio[1])
    return found


def _aperio_properties(description: str) -> dict[str, str]:
    found = {"openslide.vendor": "aperio"}
    mpp = _APERIO_MPP.search(description)
    if mpp:
        found["openslide.mpp-x"] = mpp[1]
        found["openslide.mpp-y"] = mpp[1]
    return found


def _ome_pixels(description: str) -> dict[str, str]:
    """Return the attributes of the first image's Pixels element. The rest is not parsed."""
    if "<!DOCTYPE" in description:
        raise UnreadableTiffError("its OME-XML has a document type of its own")
    try:
        # Without a DTD there are no entities to be expanded or fetched.
        xml = io.BytesIO(description.encode())
        for _, element in ET.iterparse(xml, events=("start",)):  # noqa: S314
            if element.tag.endswith(_OME_PIXELS_TAG):
                return dict(element.attrib)
    except ET.ParseError as error:
        raise UnreadableTiffError(f"its OME-XML is malformed: {error}") from error
    return {}


def _ome_properties(pixels: dict[str, str], page: TiffPage) -> dict[str, str]:
    _refuse_ome_stack(pixels, page)
    found = {"openslide.vendor": "ome-tiff"}
    for axis in "XY":
        unit_um = _UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}", "")
        if unit_um and _NUMBER.fullmatch(size):
            found[f"openslide.mpp-{axis.lower()}"] = _in_um(size, unit_um)
    return found


def _refuse_ome_stack(pixels: dict[str, str], page: TiffPage) -> None:
    sizes = {axis: pixels.get(f"Size{axis}", "1") for axis in "ZTC"}
    is_one_plane = sizes["Z"] == "1" and sizes["T"] == "1"
    if is_one_plane and sizes["C"] in {"1", str(page.samplesperpixel)}:
        return
    described = ", ".join(f"Size{axis} {size}" for axis, size in sizes.items())
    raise UnreadableTiffError(
        f"its OME-XML tells of focal planes, times or channels ({described}); "
        "one RGB picture is read"
    )


def _in_um(size: str, unit_um: float) -> str:
    try:
        return str(float(size) * unit_um)
    except ValueError:
        return size
