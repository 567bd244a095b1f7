"""Which pages of a TIFF are levels, and what it says of its resolution."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.slides import a_picture, shrunk
from worker.geometry.frame import Pixels
from worker.geometry.mpp import spacing
from worker.slides.tiff.reader import TiffPyramid, open_tiff

PIXELS = a_picture(300, 201)
LOSSLESS: dict[str, Any] = {"compression": "jpegxl", "compressionargs": {"lossless": True}}
APERIO = "Aperio Image Library v12.0.15\r\n300x201 [0,0 300x201] (64x64) JXL/RGB Q=70|AppMag = 40|MPP = 0.2520"


def levels_of(pyramid: TiffPyramid) -> list[Pixels]:
    """Every level whole, in RGB; the file is closed."""
    found = [
        np.asarray(pyramid.read_region((0, 0), level, size).convert("RGB"))
        for level, size in enumerate(pyramid.level_dimensions)
    ]
    pyramid.close()
    return found


def agree(found: list[Pixels], factors: tuple[int, ...]) -> None:
    """Fail unless the levels are the picture shrunk by these factors."""
    assert len(found) == len(factors)
    assert all(
        np.array_equal(level, shrunk(PIXELS, factor))
        for level, factor in zip(found, factors, strict=True)
    )


def an_svs(path: Path) -> Path:
    """Aperio's order of pages, in JPEG XL: level 0, thumbnail, further levels, label, macro."""
    tiles: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "metadata": None} | LOSSLESS
    strips: dict[str, Any] = {"rowsperstrip": 16, "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(PIXELS, description=APERIO, **tiles)
        tiff.write(shrunk(PIXELS, 3), description=f"{APERIO} -> 100x67 - thumbnail", **strips)
        tiff.write(shrunk(PIXELS, 2), description=APERIO, **tiles)
        tiff.write(shrunk(PIXELS, 4), description=APERIO, **tiles)
        tiff.write(
            a_picture(120, 130),
            description="Aperio Image Library\r\nlabel 120x130",
            subfiletype=1,
            **strips,
        )
        tiff.write(
            a_picture(400, 150),
            description="Aperio Image Library\r\nmacro 400x150",
            subfiletype=9,
            **strips,
        )
    return path


def an_ome_tiff(path: Path, pixels: Pixels, said: dict[str, Any], subifds: int = 0) -> Path:
    """OME-TIFF by tifffile, its further levels in SubIFDs."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(
            pixels, tile=(64, 64), photometric="rgb", subifds=subifds, metadata=said, **LOSSLESS
        )
        for factor in [2, 4][:subifds]:
            tiff.write(shrunk(pixels, factor), tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None,
                       **LOSSLESS)  # fmt: skip
    return path


def test_an_svs_that_openslide_refuses_is_still_an_svs(tmp_path: Path) -> None:
    """Its levels are the tiled pages; thumbnail, label and macro, though larger, are left out; its MPP is believed."""
    pyramid = open_tiff(an_svs(tmp_path / "a.svs"))
    assert pyramid.level_dimensions == ((300, 201), (150, 100), (75, 50))
    assert spacing(pyramid.properties) == (0.252, 0.252, "slide")
    assert "JPEG XL" in pyramid.name
    agree(levels_of(pyramid), (1, 2, 4))


@pytest.mark.parametrize("subifds", [0, 2])
def test_an_ome_tiff_s_levels_are_its_subifds(tmp_path: Path, subifds: int) -> None:
    """Its microns come from OME-XML, in the unit said there."""
    said = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.26}
    pyramid = open_tiff(an_ome_tiff(tmp_path / "a.ome.tif", PIXELS, said, subifds))
    assert spacing(pyramid.properties) == (pytest.approx(0.25), 0.26, "slide")
    agree(levels_of(pyramid), (1, 2, 4)[: subifds + 1])


@pytest.mark.parametrize("order", [(1, 2, 4), (4, 2, 1)])
def test_reduced_pages_of_one_shape_are_levels_in_any_order(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """A page of another shape among them is none, nor is one that the file does not call a reduced image."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for factor in order:
            how = {"subfiletype": int(factor > 1), **LOSSLESS}
            tiff.write(
                shrunk(PIXELS, factor), tile=(64, 64), photometric="rgb", metadata=None, **how
            )
            tiff.write(
                a_picture(64, 128), tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None
            )
        tiff.write(shrunk(PIXELS, 3), tile=(64, 64), photometric="rgb", metadata=None)
    agree(levels_of(open_tiff(tmp_path / "a.tif")), (1, 2, 4))


def test_a_slide_that_is_stored_turned_is_refused(tmp_path: Path) -> None:
    """Viewers that turn it would show every finding in another place."""
    how = {"extratags": [(274, "H", 1, 3, True)], **LOSSLESS}
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, tile=(64, 64), photometric="rgb", metadata=None, **how
    )
    with pytest.raises(OrderError, match="turned or mirrored"):
        open_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("subfiletype", [0, 1])
def test_of_striped_pages_only_reduced_images_are_levels(tmp_path: Path, subfiletype: int) -> None:
    """A smaller picture in strips may be anything, unless the file calls it the same in smaller."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(PIXELS, photometric="rgb", rowsperstrip=8, metadata=None)
        tiff.write(
            shrunk(PIXELS, 2),
            photometric="rgb",
            rowsperstrip=8,
            subfiletype=subfiletype,
            metadata=None,
        )
    agree(levels_of(open_tiff(tmp_path / "a.tif")), (1, 2) if subfiletype else (1,))


def test_a_mask_of_transparency_is_no_second_plane(tmp_path: Path) -> None:
    """GIMP and GDAL write one beside the picture."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(PIXELS, photometric="rgb", metadata=None)
        tiff.write(PIXELS[..., 0] > 9, photometric="minisblack", subfiletype=4, metadata=None)
    agree(levels_of(open_tiff(tmp_path / "a.tif")), (1,))


@pytest.mark.parametrize("axes", ["ZYXS", "TYXS"])
@pytest.mark.parametrize("kind", ["OME", "plain"])
def test_a_stack_is_refused_rather_than_one_plane_guessed(
    tmp_path: Path, axes: str, kind: str
) -> None:
    """Which focal plane or time is meant nobody can say; the hint says what to do."""
    stack = np.stack([PIXELS] * 3)
    said: dict[str, Any] = (
        {"ome": True, "metadata": {"axes": axes}} if kind == "OME" else {"metadata": None}
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, photometric="rgb", **said)
    with pytest.raises(
        OrderError, match="3 pictures of 300 x 201 px: focal planes, times or channels"
    ) as caught:
        open_tiff(tmp_path / "a.ome.tif")
    assert "export the one" in caught.value.hint


@pytest.mark.parametrize("axis", ["SizeZ", "SizeT", "SizeC"])
def test_a_stack_spread_over_files_is_refused(tmp_path: Path, axis: str) -> None:
    """One plane is here; the OME-XML tells of more."""
    path = an_ome_tiff(tmp_path / "a.ome.tif", PIXELS, {"axes": "YXS"})
    held = "3" if axis == "SizeC" else "1"
    told = path.read_bytes().replace(f'{axis}="{held}"'.encode(), f'{axis}="5"'.encode())
    path.write_bytes(told)
    with pytest.raises(OrderError, match=f"{axis} 5"):
        open_tiff(path)


def test_plain_tags_are_told_as_tags(tmp_path: Path) -> None:
    """Of a TIFF of no known maker only its resolution tags speak."""
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb", resolution=(40000, 20000),
                     resolutionunit="CENTIMETER", metadata=None)  # fmt: skip
    pyramid = open_tiff(tmp_path / "a.tif")
    assert spacing(pyramid.properties) == (0.25, 0.5, "tiff")
    pyramid.close()


@pytest.mark.parametrize("size", ["a few", "1e999", "nan", "-1", "0"])
def test_senseless_microns_are_no_microns(tmp_path: Path, size: str) -> None:
    """They are as good as none."""
    path = an_ome_tiff(
        tmp_path / "a.ome.tif",
        PIXELS,
        {"axes": "YXS", "PhysicalSizeX": 123456, "PhysicalSizeY": 123456},
    )
    path.write_bytes(path.read_bytes().replace(b'"123456"', f'"{size:6}"'.encode()))
    pyramid = open_tiff(path)
    assert spacing(pyramid.properties)[2] == "none"
    pyramid.close()
