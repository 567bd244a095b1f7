"""The OME-XML of a TIFF: which of its images a page stores, and which images are other scenes.

The XML is in the first page's description, whichever page holds the slide
(https://docs.openmicroscopy.org/ome-model/6.3.1/ome-tiff/specification.html).
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from tifffile import TiffFile, TiffPage

from worker.slides.errors import UnreadableTiffError

_UNITS_UM: Final = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}
_NUMBER: Final = re.compile(r"[0-9.eE+-]{1,30}")
_IMAGE_TAG: Final = "}Image"
_PIXELS_TAG: Final = "}Pixels"
_TIFF_DATA_TAG: Final = "}TiffData"
_ASSOCIATED_IMAGE: Final = re.compile(
    r"label|macro|overview|thumb|preview|barcode|slide ?image", re.IGNORECASE
)
# An image whose pixels are at most so much larger than the slide's is another scene of it. A level
# is at least 2 times as coarse.
_SAME_RESOLUTION: Final = 1.5
_SCENE_PIXELS: Final = 0.25  # the least part of the slide's pixels, where sizes are not stated
_LEVEL_SHAPE_PX: Final = 2  # how far rounding may change the height of a smaller level
_EXPORT_ONE_PLANE: Final = "export the one to be looked at, in RGB"
_EXPORT_ONE_SCENE: Final = "export the scene to be looked at as a file of its own, and order that"


@dataclass
class OmeImage:
    """One `Image` element: its name, the attributes of its `Pixels`, and the pages it names."""

    name: str = ""
    pixels: dict[str, str] = field(default_factory=dict)
    pages: set[int] = field(default_factory=set)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height, None where they are not stated as numbers."""
        width = self.pixels.get("SizeX", "")
        height = self.pixels.get("SizeY", "")
        if width.isdecimal() and height.isdecimal():
            return int(width), int(height)
        return None

    @property
    def mpp(self) -> dict[str, str]:
        """Microns per pixel by axis, "X" and "Y", as far as they are stated in a unit of length."""
        found = {}
        for axis in "XY":
            unit_um = _UNITS_UM.get(self.pixels.get(f"PhysicalSize{axis}Unit", "µm"))
            size = self.pixels.get(f"PhysicalSize{axis}", "")
            if unit_um and _NUMBER.fullmatch(size):
                found[axis] = _in_um(size, unit_um)
        return found

    @property
    def significant_bits(self) -> int | None:
        """How many bits of each sample are used, None where that is not stated."""
        bits = self.pixels.get("SignificantBits", "")
        if bits.isdecimal():
            return int(bits)
        return None


def read_images(tiff: TiffFile) -> tuple[OmeImage, ...]:
    """Return the images that the file's OME-XML describes, none where it has no OME-XML.

    Raises `UnreadableSlideError` for malformed OME-XML.
    """
    description = tiff.pages.first.description
    if not description.rstrip("\0 \r\n\t").endswith("OME>"):
        return ()
    if "<!DOCTYPE" in description:
        raise UnreadableTiffError("its OME-XML has a document type of its own")
    images = []
    try:
        # Without a DTD there are no entities to be expanded or fetched.
        xml = io.BytesIO(description.rstrip("\0").encode())
        for _, element in ET.iterparse(xml, events=("start",)):  # noqa: S314
            if element.tag.endswith(_IMAGE_TAG):
                images.append(OmeImage(element.get("Name", "")))
            elif element.tag.endswith(_PIXELS_TAG) and images:
                images[-1].pixels = dict(element.attrib)
            elif element.tag.endswith(_TIFF_DATA_TAG) and images:
                images[-1].pages |= _named_pages(element)
    except ET.ParseError as error:
        raise UnreadableTiffError(f"its OME-XML is malformed: {error}") from error
    return tuple(images)


def image_of_page(images: tuple[OmeImage, ...], page: TiffPage) -> OmeImage | None:
    """Return the image that `page` stores, None where none has the page's size.

    Of several images of that size it is the one that names the page, else the first.
    """
    size = (page.imagewidth, page.imagelength)
    fitting = [image for image in images if image.size == size]
    for image in fitting:
        if page.index in image.pages:
            return image
    if fitting:
        return fitting[0]
    return None


def significant_bits(images: tuple[OmeImage, ...], page: TiffPage) -> int | None:
    """Return how many bits of each sample of the page are used, None where that is not stated."""
    image = image_of_page(images, page)
    if image is None:
        return None
    return image.significant_bits


def describe_choice(images: tuple[OmeImage, ...], page: TiffPage) -> str:
    """Return ", image 2 of 3" for a page that stores the second of three images, else ""."""
    image = image_of_page(images, page)
    if image is None or len(images) == 1:
        return ""
    number = [other is image for other in images].index(True) + 1
    return f", image {number} of {len(images)}"


def refuse_stack(image: OmeImage, page: TiffPage) -> None:
    """Raise `UnreadableSlideError` if the image has several focal planes, times or channels."""
    sizes = {axis: image.pixels.get(f"Size{axis}", "1") for axis in "ZTC"}
    is_one_plane = sizes["Z"] == "1" and sizes["T"] == "1"
    if is_one_plane and sizes["C"] in {"1", str(page.samplesperpixel)}:
        return
    described = ", ".join(f"Size{axis} {size}" for axis, size in sizes.items())
    raise UnreadableTiffError(
        f"its OME-XML tells of focal planes, times or channels ({described}); "
        "one RGB picture is read",
        hint=_EXPORT_ONE_PLANE,
    )


def refuse_scenes(images: tuple[OmeImage, ...], full: TiffPage, pages: Sequence[TiffPage]) -> None:
    """Raise `UnreadableSlideError` if another page shows more tissue at level 0's resolution.

    Labels, overviews, images that may be smaller levels of the same image, and images in other
    files do not count.
    """
    slide = image_of_page(images, full)
    if slide is None:
        return
    stored = {(page.imagewidth, page.imagelength) for page in pages if page is not full}
    others = [image for image in images if image is not slide and image.size in stored]
    scenes = [image for image in others if _is_scene(image, slide)]
    if not scenes:
        return
    described = ", ".join(_describe(image) for image in (slide, *scenes[:3]))
    raise UnreadableTiffError(
        f"its OME-XML tells of {len(scenes) + 1} scenes ({described}), "
        "and the order does not say which one is meant",
        hint=_EXPORT_ONE_SCENE,
    )


def _is_scene(image: OmeImage, slide: OmeImage) -> bool:
    if image.size is None or slide.size is None or _ASSOCIATED_IMAGE.search(image.name):
        return False
    coarseness = _coarseness(image, slide)
    if coarseness is not None:
        return coarseness < _SAME_RESOLUTION
    width, height = image.size
    full_width, full_height = slide.size
    if image.size == slide.size:
        return True
    if abs(height - width * full_height / full_width) <= _LEVEL_SHAPE_PX:
        return False
    return width * height >= _SCENE_PIXELS * full_width * full_height


def _coarseness(image: OmeImage, slide: OmeImage) -> float | None:
    """Return how many times as large the image's pixels are, None where that is not stated."""
    try:
        return float(image.mpp["X"]) / float(slide.mpp["X"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _describe(image: OmeImage) -> str:
    size = "x".join(str(length) for length in image.size or ())
    if image.name:
        return f"{image.name[:40]!r} of {size} px"
    return f"{size} px"


def _named_pages(element: ET.Element) -> set[int]:
    """Return the page that a `TiffData` element names, if it names one."""
    number = element.get("IFD", "")
    if number.isdecimal():
        return {int(number)}
    return set()


def _in_um(size: str, unit_um: float) -> str:
    try:
        return str(float(size) * unit_um)
    except ValueError:
        return size
