"""The sample slide is a slide: OpenSlide opens it, its levels agree, and what is on it looks like
stained tissue."""

from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest

from demo.slide import make_sample_slide, tissue_roi

SIZE = (6000, 4000)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("slide") / "sample.svs"
    make_sample_slide(file, *SIZE)
    return file


def level(slide: openslide.OpenSlide, number: int) -> np.ndarray:
    return np.asarray(
        slide.read_region((0, 0), number, slide.level_dimensions[number]).convert("RGB")
    )


def test_openslide_reads_it_as_aperio(path: Path) -> None:
    """Vendor, dimensions, level downsamples and microns per pixel are what was asked for."""
    with openslide.OpenSlide(path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.dimensions == SIZE
        assert slide.level_downsamples == (1.0, 4.0)
        assert (slide.properties["openslide.mpp-x"], slide.properties["openslide.mpp-y"]) == (
            "0.5",
            "0.5",
        )
        assert "thumbnail" in slide.associated_images


def test_an_odd_size_is_kept_to_the_pixel(tmp_path: Path) -> None:
    """A size that is no multiple of tile or level ratio still opens at that size."""
    make_sample_slide(tmp_path / "odd.svs", 1027, 771)
    with openslide.OpenSlide(tmp_path / "odd.svs") as slide:
        assert slide.level_dimensions == ((1027, 771), (257, 193))
        assert level(slide, 0).shape == (771, 1027, 3)


def test_a_slide_smaller_than_two_tiles_is_refused(tmp_path: Path) -> None:
    """The message says what is the least."""
    with pytest.raises(ValueError, match="512 px"):
        make_sample_slide(tmp_path / "tiny.svs", 100, 100)


def test_a_fifth_of_it_is_tissue_and_the_rim_is_glass(path: Path) -> None:
    """The stained share is close to what keeps a demonstration short, and no tissue is cut off by
    the slide's end."""
    with openslide.OpenSlide(path) as slide:
        stained = level(slide, 1).min(axis=2) < 218
    assert 0.15 < stained.mean() < 0.28
    rim = np.concatenate(
        [stained[:8].ravel(), stained[-8:].ravel(), stained[:, :8].ravel(), stained[:, -8:].ravel()]
    )
    assert not rim.any()


def test_the_levels_show_the_same(path: Path) -> None:
    """Level 1 is level 0 four times smaller, in its place: mean colours of 64 px blocks agree
    within 3 of 255."""
    with openslide.OpenSlide(path) as slide:
        fine, coarse = level(slide, 0), level(slide, 1)
    blocks = fine[:3840, :5888].reshape(60, 64, 92, 64, 3).mean(axis=(1, 3))
    same = coarse[:960, :1472].reshape(60, 16, 92, 16, 3).mean(axis=(1, 3))
    assert np.abs(blocks - same).max() < 3


def test_there_is_haematoxylin_and_dab(path: Path) -> None:
    """Both stains are seen in the densest region: blue pixels and brown ones, a fair share of
    each."""
    roi = tissue_roi(path, 1024)
    with openslide.OpenSlide(path) as slide:
        region = np.asarray(
            slide.read_region((roi["x"], roi["y"]), 0, (1024, 1024)).convert("RGB")
        ).astype(int)
    red, blue = region[..., 0], region[..., 2]
    assert (blue > red + 15).mean() > 0.03
    assert (red > blue + 30).mean() > 0.03


def test_the_roi_lies_inside_and_holds_tissue(path: Path) -> None:
    """The region found is wholly on the slide and mostly stained."""
    roi = tissue_roi(path, 1024)
    assert roi["x"] + roi["width"] <= SIZE[0]
    assert roi["y"] + roi["height"] <= SIZE[1]
    with openslide.OpenSlide(path) as slide:
        region = np.asarray(slide.read_region((roi["x"], roi["y"]), 0, (1024, 1024)).convert("RGB"))
    assert (region.min(axis=2) < 218).mean() > 0.6


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    """Two slides of one seed are equal to the byte, another seed makes another slide."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_sample_slide(tmp_path / name, 1024, 1024, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_nothing_of_it_is_mirrored_or_repeated(path: Path) -> None:
    """No place looks like another one, turned over or not: the tissue is no kaleidoscope."""
    with openslide.OpenSlide(path) as slide:
        green = level(slide, 1)[..., 1].astype(np.float32)
    roi = tissue_roi(path, 512)
    y = roi["y"] // 4
    x = roi["x"] // 4
    patch = green[y : y + 64, x : x + 64]
    for turned in (patch, patch[::-1], patch[:, ::-1], patch[::-1, ::-1], patch.T):
        alike = cv2.matchTemplate(green, np.ascontiguousarray(turned), cv2.TM_CCOEFF_NORMED)
        alike[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9] = 0
        assert alike.max() < 0.75
