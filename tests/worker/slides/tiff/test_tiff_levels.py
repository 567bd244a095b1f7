"""Which pages of a TIFF are levels, and which resolution it states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from tests.support.slides import a_picture, shrunk
from worker.geometry.frame import Pixels
from worker.geometry.mpp import spacing
from worker.slides.tiff.reader import TiffReader, open_tiff

PIXELS = a_picture(300, 201)
LOSSLESS: dict[str, Any] = {"compression": "jpegxl", "compressionargs": {"lossless": True}}
APERIO = (
    "Aperio Image Library v12.0.15\r\n"
    "300x201 [0,0 300x201] (64x64) JXL/RGB Q=70|AppMag = 40|MPP = 0.2520"
)


def levels_of(pyramid: TiffReader) -> list[Pixels]:
    """Return every level in RGB, and close the file."""
    found = [
        np.asarray(pyramid.read_region((0, 0), level, size).convert("RGB"))
        for level, size in enumerate(pyramid.level_dimensions)
    ]
    pyramid.close()
    return found


def agree(found: list[Pixels], factors: tuple[int, ...]) -> None:
    """Fail unless the levels are the image shrunk by these factors."""
    assert len(found) == len(factors)
    assert all(
        np.array_equal(level, shrunk(PIXELS, factor))
        for level, factor in zip(found, factors, strict=True)
    )


def an_svs(path: Path) -> Path:
    """Write Aperio's order of pages: level 0, thumbnail, further levels, label, macro."""
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


def an_ome_tiff(path: Path, pixels: Pixels, metadata: dict[str, Any], subifds: int = 0) -> Path:
    """Write an OME-TIFF by tifffile, its further levels in SubIFDs."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(
            pixels, tile=(64, 64), photometric="rgb", subifds=subifds, metadata=metadata, **LOSSLESS
        )
        for factor in [2, 4][:subifds]:
            tiff.write(
                shrunk(pixels, factor),
                tile=(64, 64),
                photometric="rgb",
                subfiletype=1,
                metadata=None,
                **LOSSLESS,
            )
    return path


def test_an_svs_that_openslide_refuses_is_still_an_svs(tmp_path: Path) -> None:
    """Its tiled pages are levels; thumbnail, label and macro are left out. Its MPP is used."""
    pyramid = open_tiff(an_svs(tmp_path / "a.svs"))
    assert pyramid.level_dimensions == ((300, 201), (150, 100), (75, 50))
    assert spacing(pyramid.properties) == (0.252, 0.252, "slide")
    assert "JPEG XL" in pyramid.name
    agree(levels_of(pyramid), (1, 2, 4))


@pytest.mark.parametrize("subifds", [0, 2])
def test_an_ome_tiff_s_levels_are_its_subifds(tmp_path: Path, subifds: int) -> None:
    """Its microns come from OME-XML, in the unit that is stated there."""
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": 250.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.26,
    }
    pyramid = open_tiff(an_ome_tiff(tmp_path / "a.ome.tif", PIXELS, metadata, subifds))
    assert spacing(pyramid.properties) == (pytest.approx(0.25), 0.26, "slide")
    agree(levels_of(pyramid), (1, 2, 4)[: subifds + 1])


@pytest.mark.parametrize("order", [(1, 2, 4), (4, 2, 1)])
def test_reduced_pages_of_one_shape_are_levels_in_any_order(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """A page of another shape is not a level, nor is one that is not marked as reduced."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for factor in order:
            options = {"subfiletype": int(factor > 1), **LOSSLESS}
            tiff.write(
                shrunk(PIXELS, factor), tile=(64, 64), photometric="rgb", metadata=None, **options
            )
            tiff.write(
                a_picture(64, 128), tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None
            )
        tiff.write(shrunk(PIXELS, 3), tile=(64, 64), photometric="rgb", metadata=None)
    agree(levels_of(open_tiff(tmp_path / "a.tif")), (1, 2, 4))


def test_a_slide_that_is_stored_turned_is_refused(tmp_path: Path) -> None:
    """Viewers that apply the orientation would show every finding in another place."""
    options = {"extratags": [(274, "H", 1, 3, True)], **LOSSLESS}
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, tile=(64, 64), photometric="rgb", metadata=None, **options
    )
    with pytest.raises(OrderError, match="turned or mirrored"):
        open_tiff(tmp_path / "a.tif")


@pytest.mark.parametrize("subfiletype", [0, 1])
def test_of_striped_pages_only_reduced_images_are_levels(tmp_path: Path, subfiletype: int) -> None:
    """A smaller striped image is only a level if the file marks it as reduced."""
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
    """GIMP and GDAL write one beside the image."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(PIXELS, photometric="rgb", metadata=None)
        tiff.write(PIXELS[..., 0] > 9, photometric="minisblack", subfiletype=4, metadata=None)
    agree(levels_of(open_tiff(tmp_path / "a.tif")), (1,))


@pytest.mark.parametrize("axes", ["ZYXS", "TYXS"])
@pytest.mark.parametrize("kind", ["OME", "plain"])
def test_a_stack_is_refused_rather_than_one_plane_guessed(
    tmp_path: Path, axes: str, kind: str
) -> None:
    """The order does not say which plane or time is meant. The hint says what to do."""
    stack = np.stack([PIXELS] * 3)
    metadata: dict[str, Any] = (
        {"ome": True, "metadata": {"axes": axes}} if kind == "OME" else {"metadata": None}
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, photometric="rgb", **metadata)
    with pytest.raises(
        OrderError, match="3 pictures of 300 x 201 px: focal planes, times or channels"
    ) as caught:
        open_tiff(tmp_path / "a.ome.tif")
    assert "export the one" in caught.value.hint


@pytest.mark.parametrize("axis", ["SizeZ", "SizeT", "SizeC"])
def test_a_stack_spread_over_files_is_refused(tmp_path: Path, axis: str) -> None:
    """The file has one plane, and its OME-XML describes more."""
    path = an_ome_tiff(tmp_path / "a.ome.tif", PIXELS, {"axes": "YXS"})
    stated = "3" if axis == "SizeC" else "1"
    content = path.read_bytes().replace(f'{axis}="{stated}"'.encode(), f'{axis}="5"'.encode())
    path.write_bytes(content)
    with pytest.raises(OrderError, match=f"{axis} 5"):
        open_tiff(path)


def test_plain_tags_are_told_as_tags(tmp_path: Path) -> None:
    """A TIFF of an unknown vendor has only its resolution tags."""
    tifffile.imwrite(
        tmp_path / "a.tif",
        PIXELS,
        photometric="rgb",
        resolution=(40000, 20000),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    pyramid = open_tiff(tmp_path / "a.tif")
    assert spacing(pyramid.properties) == (0.25, 0.5, "tiff")
    pyramid.close()


@pytest.mark.parametrize("size", ["a few", "1e999", "nan", "-1", "0"])
def test_senseless_microns_are_no_microns(tmp_path: Path, size: str) -> None:
    """They are ignored."""
    path = an_ome_tiff(
        tmp_path / "a.ome.tif",
        PIXELS,
        {"axes": "YXS", "PhysicalSizeX": 123456, "PhysicalSizeY": 123456},
    )
    path.write_bytes(path.read_bytes().replace(b'"123456"', f'"{size:6}"'.encode()))
    pyramid = open_tiff(path)
    assert spacing(pyramid.properties)[2] == "none"
    pyramid.close()


def a_pyramid(
    path: Path,
    small: Pixels,
    per_cm: float | None,
    stored: dict[str, Any],
    full_size: tuple[int, int] = (1536, 1536),
) -> Path:
    """Write a flat level 0 at 40,000 px/cm and `small` as its reduced image at `per_cm`."""
    full = np.full((full_size[1], full_size[0], 3), 90, np.uint8)
    options: dict[str, Any] = {
        "tile": (512, 512), "photometric": "rgb", "metadata": None, "resolutionunit": 3,
    }  # fmt: skip
    with tifffile.TiffWriter(path) as tiff:
        for number, (pixels, resolution) in enumerate(((full, 40000), (small, per_cm))):
            tiff.write(
                pixels,
                subfiletype=number,
                resolution=(resolution, resolution) if resolution else None,
                **options,
                **stored,
            )
    return path


STORED: list[dict[str, Any]] = [{"compression": "zlib"}, {"compression": "jpeg"}]


@pytest.mark.parametrize("stored", STORED)
def test_a_level_padded_to_whole_tiles_loses_its_padding(
    tmp_path: Path, stored: dict[str, Any]
) -> None:
    """Its resolution says that 768 of its 1024 pixels show the slide."""
    small = np.full((1024, 1024, 3), 255, np.uint8)
    small[:768, :768] = 90
    pyramid = open_tiff(a_pyramid(tmp_path / "a.tif", small, 20000, stored))
    assert pyramid.level_dimensions == ((1536, 1536), (768, 768))
    assert pyramid.level_downsamples == (1, 2)
    region = np.asarray(pyramid.read_region((0, 0), 1, (1024, 1024)))
    pyramid.close()
    assert (np.abs(region[:768, :768, :3].astype(int) - 90) <= 1).all()
    assert not region[768:, :, 3].any()
    assert not region[:, 768:, 3].any()


@pytest.mark.parametrize(("edge", "per_cm"), [(1024, 5000), (1000, 20000), (512, 20000)])
def test_a_level_whose_size_contradicts_its_resolution_is_not_used(
    tmp_path: Path, edge: int, per_cm: float
) -> None:
    """Padding by more than a tile, by less than whole tiles, or a level that shows a part."""
    small = np.full((edge, edge, 3), 90, np.uint8)
    pyramid = open_tiff(a_pyramid(tmp_path / "a.tif", small, per_cm, {"compression": "zlib"}))
    assert pyramid.level_dimensions == ((1536, 1536),)
    pyramid.close()


@pytest.mark.parametrize("per_cm", [40000, None])
@pytest.mark.parametrize(
    ("edge", "is_used"), [(768, True), (1024, False), (500, True), (512, False)]
)
def test_without_a_resolution_a_level_of_whole_tiles_must_be_a_half_of_a_half(
    tmp_path: Path, per_cm: float | None, edge: int, *, is_used: bool
) -> None:
    """At 2/3 or 1/3 of the size it may as well be padded. Copied tags say nothing."""
    small = np.full((edge, edge, 3), 90, np.uint8)
    pyramid = open_tiff(a_pyramid(tmp_path / "a.tif", small, per_cm, {"compression": "zlib"}))
    assert len(pyramid.level_dimensions) == 1 + is_used
    pyramid.close()


@pytest.mark.parametrize("per_cm", [20000, 20013, 19990])
def test_rounded_resolutions_are_no_contradiction(tmp_path: Path, per_cm: float) -> None:
    """The sizes of levels are more exact than their tags."""
    small = np.full((385, 500, 3), 90, np.uint8)
    path = a_pyramid(tmp_path / "a.tif", small, per_cm, {"compression": "zlib"}, (1001, 769))
    pyramid = open_tiff(path)
    assert pyramid.level_dimensions == ((1001, 769), (500, 385))
    pyramid.close()
