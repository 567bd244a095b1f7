"""Levels of DICOM slides: padded to whole tiles, contradicting their spacing, or reduced."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pydicom import uid

from tests.support.dicom_files import a_dicom_slide
from tests.support.slides import a_slope, shrunk
from worker.geometry.frame import Pixels
from worker.slides.dicom.level_sizes import LevelSize, size_of_slide
from worker.slides.sandbox.client import Sandbox
from worker.slides.slide import Slide

SERIES: Final = uid.generate_uid()
RESAMPLED: Final = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]


def padded(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return the pixels with black ones to the right and below."""
    full = np.zeros((height, width, 3), np.uint8)
    full[: pixels.shape[0], : pixels.shape[1]] = pixels
    return full


def a_level(path: Path, pixels: Pixels, downsample: int, **elements: Any) -> Path:
    return a_dicom_slide(
        path,
        pixels,
        uid.ExplicitVRLittleEndian,
        downsample=downsample,
        SeriesInstanceUID=SERIES,
        **elements,
    )


def test_a_level_padded_to_whole_tiles_lies_where_its_spacing_says(tmp_path: Path) -> None:
    """Philips stores whole tiles: 200 x 132 px at a quarter are 50 x 33 px in a tile of 64 x 64."""
    pixels = a_slope(200, 132)
    path = a_level(tmp_path / "a.dcm", pixels, 1)
    a_level(tmp_path / "b.dcm", padded(shrunk(pixels, 4), 64, 64), 4)
    with Slide.open(path) as slide:
        assert slide.reader.startswith("pydicom")
        region = slide.read(0, 0, 50, 33, 4, 4)
        beyond = slide.read(200, 0, 4, 4, 4, 4)
    assert (region == shrunk(pixels, 4)).all()
    assert (beyond == 255).all()


@pytest.mark.parametrize(("wide", "high", "downsample"), [(100, 66, 3), (100, 40, 2), (50, 33, 1)])
def test_a_level_that_contradicts_its_spacing_is_not_used(
    tmp_path: Path, wide: int, high: int, downsample: int
) -> None:
    """It would show tissue at a false place. Level 0 has everything."""
    pixels = a_slope(200, 132)
    path = a_level(tmp_path / "a.dcm", pixels, 1)
    a_level(tmp_path / "b.dcm", np.zeros((high, wide, 3), np.uint8), downsample)
    alone = a_dicom_slide(tmp_path / "alone.dcm", pixels, uid.ExplicitVRLittleEndian)
    with Slide.open(path) as slide, Slide.open(alone) as expected:
        region = slide.read(0, 0, 50, 33, 4, 4)
        assert (region == expected.read(0, 0, 50, 33, 4, 4)).all()


def test_levels_that_agree_stay_with_openslide(tmp_path: Path) -> None:
    """Sizes are rounded up or down, and OpenSlide is the faster reader."""
    pixels = a_slope(202, 131)
    path = a_level(tmp_path / "a.dcm", pixels, 1)
    a_level(tmp_path / "b.dcm", a_slope(50, 33), 4)
    with Slide.open(path) as slide:
        assert slide.reader.startswith("OpenSlide")


@pytest.mark.parametrize(
    ("full", "level", "ratio", "expected"),
    [
        # Philips, WG 26 Connectathon 2023: tiles of 1024 px; level 0 is padded, too.
        ((104448, 55296), (53248, 28672), 2.0, (52224, 27648)),
        ((104448, 55296), (14336, 8192), 8.0, (13056, 6912)),
        ((104448, 55296), (2048, 2048), 64.0, (1632, 864)),
        # The spacing was rounded to few digits.
        ((80000, 60001), (20000, 15000), 3.996, (20000, 15000)),
        ((80123, 60001), (20033, 15001), 3.9996, (20033, 15001)),
        # Cut to whole tiles, shown at another place, or of another slide.
        ((80123, 60001), (19456, 14336), 4.0, None),
        ((80123, 60001), (40000, 30000), 4.0, None),
        ((80123, 60001), (20033, 40001), 4.0, None),
    ],
)
def test_which_part_of_a_level_shows_the_slide(
    full: tuple[int, int],
    level: tuple[int, int],
    ratio: float,
    expected: tuple[int, int] | None,
) -> None:
    """Padding is whole tiles beyond what the spacing says; everything else must be rounding."""
    fine = LevelSize(full, (1024, 1024), (0.00025, 0.00025))
    coarse = LevelSize(level, (1024, 1024), (0.00025 * ratio, 0.00025 * ratio))
    assert size_of_slide(fine, coarse) == expected


def test_without_spacings_both_axes_must_shrink_by_the_same() -> None:
    """Padding makes them differ, and then nothing says by how much."""
    fine = LevelSize((1000, 600), (256, 256), None)
    assert size_of_slide(fine, LevelSize((250, 150), (256, 256), None)) == (250, 150)
    assert size_of_slide(fine, LevelSize((256, 256), (256, 256), None)) is None


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_a_reduced_level_alone_is_read_with_a_warning(tmp_path: Path, syntax: str) -> None:
    """Its microns per pixel are right, but it is not the slide that the order may mean."""
    path = a_dicom_slide(
        tmp_path / "a.dcm", a_slope(100, 80), syntax, downsample=16, ImageType=RESAMPLED
    )
    with Sandbox(threads=1).open(path) as slide:
        assert [warning.code for warning in slide.warnings] == ["reduced_level_alone"]
        assert "100 x 80 px of 4 um" in slide.warnings[0].detail
        assert slide.frame.mpp_x == pytest.approx(4)


@pytest.mark.parametrize("opened", ["a.dcm", "b.dcm"])
def test_a_reduced_level_beside_the_full_one_is_a_level(tmp_path: Path, opened: str) -> None:
    """Whichever file is opened, the slide is whole."""
    pixels = a_slope(200, 132)
    a_level(tmp_path / "a.dcm", pixels, 1)
    a_level(tmp_path / "b.dcm", shrunk(pixels, 4), 4, ImageType=RESAMPLED)
    with Sandbox(threads=1).open(tmp_path / opened) as slide:
        assert slide.warnings == ()
        assert slide.frame.width == 200
