"""What a TIFF states of its resolution: several images in OME-XML, ImageJ's unit, Aperio's MPP."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.slides import a_picture, shrunk
from worker.geometry.frame import Pixels
from worker.geometry.mpp import spacing
from worker.slides.tiff.reader import open_tiff

SLIDE = a_picture(300, 201)
OTHER = a_picture(280, 150, seed=1)
TILES: dict[str, Any] = {
    "tile": (64, 64),
    "photometric": "rgb",
    "compression": "zlib",
    "metadata": None,
}


def an_image(
    number: int, pixels: Pixels, mpp: float | None, name: str = "", *, names_page: bool = True
) -> str:
    """Return one Image element of OME-XML for the page of this number."""
    height, width = pixels.shape[:2]
    physical = f'PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}"' if mpp else ""
    page = f'IFD="{number}" PlaneCount="1"' if names_page else ""
    return (
        f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeC="3" '
        f'SizeZ="1" SizeT="1" {physical}><Channel ID="Channel:{number}:0" SamplesPerPixel="3"/>'
        f"<TiffData {page}/></Pixels></Image>"
    )


def an_ome_tiff(path: Path, images: list[Pixels], elements: list[str]) -> Path:
    """Write one page for each image, the OME-XML in the first."""
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f"{''.join(elements)}</OME>"
    )
    with tifffile.TiffWriter(path) as tiff:
        for number, pixels in enumerate(images):
            description = xml.encode() if number == 0 else None
            tiff.write(pixels, description=description, **TILES)
    return path


@pytest.mark.parametrize("names_page", [True, False])
@pytest.mark.parametrize("slide_at", [0, 1, 2])
def test_the_microns_are_those_of_the_image_that_is_the_slide(
    tmp_path: Path, slide_at: int, *, names_page: bool
) -> None:
    """Label and macro may come before it; only the first page has the OME-XML."""
    images = [a_picture(60, 50), a_picture(80, 40)]
    mpps = [20.0, 15.0]
    images.insert(slide_at, SLIDE)
    mpps.insert(slide_at, 0.25)
    elements = [
        an_image(number, pixels, mpp, names_page=names_page)
        for number, (pixels, mpp) in enumerate(zip(images, mpps, strict=True))
    ]
    pyramid = open_tiff(an_ome_tiff(tmp_path / "a.ome.tif", images, elements))
    assert pyramid.level_dimensions[0] == (300, 201)
    assert spacing(pyramid.properties) == (0.25, 0.25, "slide")
    assert pyramid.name.endswith(f"image {slide_at + 1} of 3)")
    region = np.asarray(pyramid.read_region((0, 0), 0, (300, 201)).convert("RGB"))
    assert np.array_equal(region, SLIDE)
    pyramid.close()


def test_microns_of_another_size_of_the_image_are_not_used(tmp_path: Path) -> None:
    """A copy that was made smaller keeps the OME-XML, whose microns are too fine for it."""
    element = an_image(0, a_picture(600, 402), 0.25)
    pyramid = open_tiff(an_ome_tiff(tmp_path / "a.ome.tif", [SLIDE], [element]))
    assert spacing(pyramid.properties)[2] == "none"
    pyramid.close()


@pytest.mark.parametrize("second", [OTHER, SLIDE])
@pytest.mark.parametrize("mpp", [0.25, None])
def test_two_scenes_are_refused_rather_than_one_guessed(
    tmp_path: Path, second: Pixels, mpp: float | None
) -> None:
    """Of two pieces of tissue at full resolution the order does not say which is meant."""
    elements = [an_image(0, SLIDE, mpp, "Scene 1"), an_image(1, second, mpp, "Scene 2")]
    path = an_ome_tiff(tmp_path / "a.ome.tif", [SLIDE, second], elements)
    with pytest.raises(OrderError, match=r"2 scenes \('Scene 1' of 300x201 px") as caught:
        open_tiff(path)
    assert caught.value.code == "slide_unreadable"
    assert "export the scene" in caught.value.hint


@pytest.mark.parametrize(
    ("second", "mpp", "name"),
    [(OTHER, 20.0, ""), (OTHER, None, "macro image"), (shrunk(SLIDE, 2), None, "")],
)
def test_labels_overviews_and_levels_are_no_scenes(
    tmp_path: Path, second: Pixels, mpp: float | None, name: str
) -> None:
    """An image with larger pixels, the name of an overview, or the shape of a level."""
    elements = [an_image(0, SLIDE, 0.25), an_image(1, second, mpp, name)]
    pyramid = open_tiff(an_ome_tiff(tmp_path / "a.ome.tif", [SLIDE, second], elements))
    assert pyramid.level_dimensions == ((300, 201),)
    pyramid.close()


def an_imagej_tiff(path: Path, lines: str, resolution: float = 4, unit: int | None = 1) -> Path:
    """Write a TIFF with the description of ImageJ; without a unit tag if `unit` is None."""
    tifffile.imwrite(
        path,
        SLIDE,
        resolution=(resolution, resolution),
        resolutionunit=unit or 1,
        description=f"ImageJ=1.53t\n{lines}",
        **TILES,
    )
    if unit is None:
        with tifffile.TiffFile(path) as tiff:
            at = tiff.pages.first.tags["ResolutionUnit"].offset
        data = bytearray(path.read_bytes())
        data[at : at + 2] = (60000).to_bytes(2, "little")
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("unit_tag", [1, 2, None])
@pytest.mark.parametrize(
    ("unit", "per_unit"),
    [("micron", 4), ("um", 4), ("\\u00B5m", 4), ("nm", 0.004), ("mm", 4000), ("cm", 40000)],
)
def test_imagej_states_the_unit_of_the_tags_in_its_description(
    tmp_path: Path, unit: str, per_unit: float, unit_tag: int | None
) -> None:
    """TIFF has no tag for microns. Without a unit the tags stay without one."""
    path = an_imagej_tiff(tmp_path / "a.tif", f"unit={unit}\nmin=0.0\n", per_unit, unit_tag)
    pyramid = open_tiff(path)
    assert spacing(pyramid.properties)[:2] == (pytest.approx(0.25), pytest.approx(0.25))
    pyramid.close()


@pytest.mark.parametrize("lines", ["unit=pixel\n", "", "loop=false\n"])
def test_imagej_without_a_length_states_no_microns(tmp_path: Path, lines: str) -> None:
    """A resolution of 4 pixels in nothing says nothing."""
    pyramid = open_tiff(an_imagej_tiff(tmp_path / "a.tif", lines))
    assert spacing(pyramid.properties)[2] == "none"
    pyramid.close()


def test_an_imagej_stack_with_one_page_is_refused(tmp_path: Path) -> None:
    """ImageJ writes large stacks behind one page, whose description alone counts the planes."""
    path = an_imagej_tiff(tmp_path / "a.tif", "images=12\nslices=12\nunit=micron\n")
    with pytest.raises(OrderError, match="ImageJ wrote 12 pictures"):
        open_tiff(path)


@pytest.mark.parametrize("mpp", ["0.2520", "0,2520"])
def test_aperio_s_mpp_may_have_a_decimal_comma(tmp_path: Path, mpp: str) -> None:
    """Some scanners write the number as their country does."""
    tifffile.imwrite(
        tmp_path / "a.svs", SLIDE, description=f"Aperio Image\r\n300x201|MPP = {mpp}", **TILES
    )
    pyramid = open_tiff(tmp_path / "a.svs")
    assert spacing(pyramid.properties) == (0.252, 0.252, "slide")
    pyramid.close()
