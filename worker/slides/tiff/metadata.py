"""Metadata of a TIFF by OpenSlide's names: resolution tags and what programs write."""

import re
from typing import Final

from tifffile import TiffPage

from worker.slides.errors import UnreadableTiffError
from worker.slides.tiff import ome

_RESOLUTION_UNITS: Final = {1: "none", 2: "inch", 3: "centimeter"}
_INCH: Final = 2
_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_RESOLUTION_UNIT: Final = 296
_APERIO_MPP: Final = re.compile(r"\|\s*MPP\s*=\s*([0-9.,]{1,20})")
_IMAGEJ_UNIT: Final = re.compile(r"^unit=(\S{1,20})\s*$", re.MULTILINE)
_IMAGEJ_PLANES: Final = re.compile(r"^images=([0-9]{1,9})\s*$", re.MULTILINE)
_IMAGEJ_UNITS: Final = {
    "micron": "micron",
    "microns": "micron",
    "micrometer": "micron",
    "um": "micron",
    "µm": "micron",
    "μm": "micron",
    "\\u00B5m": "micron",  # ImageJ writes the letter as this escape
    "nm": "nanometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "inch": "inch",
}


def properties(page: TiffPage, images: tuple[ome.OmeImage, ...]) -> dict[str, str]:
    """Return the metadata of level 0; `images` are those that the file's OME-XML describes.

    Raises `UnreadableSlideError` if it describes several planes.
    """
    found = _resolution(page)
    description = page.description
    if images:
        return found | _ome_properties(images, page)
    if description.startswith("Aperio"):
        return found | _aperio_properties(description)
    if description.startswith("ImageJ="):
        return found | _imagej_properties(description)
    return found


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
        number = mpp[1].replace(",", ".")  # some scanners write the comma of their country
        found["openslide.mpp-x"] = number
        found["openslide.mpp-y"] = number
    return found


def _imagej_properties(description: str) -> dict[str, str]:
    """Return the unit of the resolution tags, whose own tag has no word for microns.

    Raises `UnreadableSlideError` for a stack, of which only the first plane may have a page.
    """
    planes = _IMAGEJ_PLANES.search(description)
    if planes and int(planes[1]) > 1:
        raise UnreadableTiffError(
            f"ImageJ wrote {planes[1]} pictures into it: focal planes, times or channels",
            hint="export the one to be looked at, in RGB",
        )
    unit = _IMAGEJ_UNIT.search(description)
    if unit and unit[1] in _IMAGEJ_UNITS:
        return {"tiff.ResolutionUnit": _IMAGEJ_UNITS[unit[1]]}
    return {}


def _ome_properties(images: tuple[ome.OmeImage, ...], page: TiffPage) -> dict[str, str]:
    """Return what the OME-XML states about the image that the page stores."""
    found = {"openslide.vendor": "ome-tiff"}
    image = ome.image_of_page(images, page)
    if image is None:
        return found
    ome.refuse_stack(image, page)
    for axis, mpp in image.mpp.items():
        found[f"openslide.mpp-{axis.lower()}"] = mpp
    return found
