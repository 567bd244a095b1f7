"""Slides read in a process of their own: the same pixels and words, and nothing of ours in it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from broker.errors import OrderError
from tests.support.slides import a_picture, a_slide
from worker.geometry.frame import Area, Pixels
from worker.geometry.roi import resolve_roi
from worker.slides.overview import overview
from worker.slides.sandbox.client import Sandbox, SandboxedSlide
from worker.slides.slide import Slide

SIZE = 300, 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_slide(tmp_path / "a.svs", a_picture(*SIZE))


def read(slide: SandboxedSlide, edge: int = 64) -> Pixels:
    region = np.empty((edge, edge, 3), np.uint8)
    slide.fill(region, 3.5, 2.25, 1.3, 1.7)
    return region


def test_the_pixels_are_those_of_the_slide(path: Path) -> None:
    """Frame, reader, regions and overviews are what they are in this process, by many threads at once."""
    with Slide.open(path) as here, Sandbox(3).open(path) as there, ThreadPoolExecutor(6) as pool:
        assert (there.frame, there.reader) == (here.frame, here.reader)
        expected = here.read(3.5, 2.25, 64, 64, 1.3, 1.7)
        assert all(
            np.array_equal(region, expected)
            for region in pool.map(lambda _: read(there), range(24))
        )
        area = resolve_roi(None, here.frame)
        assert np.array_equal(there.overview(area, 50), here.overview(area, 50))


def test_whose_word_the_mpp_is_reaches_the_process(tmp_path: Path) -> None:
    """What the order or the locator says is believed there as here, where the slide does not say."""
    path = a_slide(tmp_path / "a.svs", a_picture(*SIZE), mpp=None)
    with Sandbox(1).open(path, 0.31, "locator") as slide:
        assert (slide.frame.mpp_x, slide.frame.mpp_y, slide.frame.mpp_source) == (
            0.31,
            0.31,
            "locator",
        )


def test_an_area_beyond_the_slide_is_white_there_too(path: Path) -> None:
    """The edges are those of the slide."""
    with Sandbox(1).open(path) as slide:
        region = np.empty((10, 10, 3), np.uint8)
        slide.fill(region, *SIZE, 1, 1)
        assert (region == 255).all()


def test_what_is_wrong_with_a_slide_is_told_in_the_same_words(tmp_path: Path) -> None:
    """A text is no slide, here and there."""
    path = tmp_path / "a.svs"
    path.write_text("hello")
    with pytest.raises(OrderError) as here:
        Slide.open(path)
    with pytest.raises(OrderError) as there, Sandbox(1).open(path):
        pass
    assert there.value.problem == here.value.problem


def test_nothing_of_ours_reaches_the_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting or token is in its environment, no model in its memory; it holds wires, pixels and the slide."""
    monkeypatch.setenv("SLIDELANE_BROKER__SECRET_KEY", "5ecret")
    with Sandbox(1).open(path) as slide:
        process = Path(f"/proc/{slide.process_id}")
        environment, loaded = (process / "environ").read_bytes(), (process / "maps").read_text()
        held = {link.readlink().as_posix().partition(":")[0] for link in (process / "fd").iterdir()}
    assert b"5ecret" not in environment
    assert not [name for name in ("libtorch", "hiredis", "cv2") if name in loaded]
    assert held - {str(path.resolve())} == {"/dev/null", "socket", "/memfd"}


def test_half_a_gibibyte_is_enough_to_read_slides(path: Path) -> None:
    """The least that the settings allow."""
    with Sandbox(4, max_bytes=2**29).open(path) as slide:
        assert read(slide).any()


class WideSlide(Slide):
    """A slide that says how large the regions are that are read of it."""

    regions: tuple[tuple[int, ...], ...] = ()

    def fill(
        self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float
    ) -> None:
        self.regions += (region.shape,)
        super().fill(region, x, y, downsample_x, downsample_y)


def test_an_overview_is_read_in_strips(path: Path) -> None:
    """So that none takes long; 20,000 x 20,000 px are two, a small area is one, and their pixels are the same."""
    with WideSlide.open(path) as slide:
        huge = overview(slide, Area(0, 0, 20_000, 20_000), 200)
        assert slide.regions == ((134, 200, 3), (66, 200, 3))
        assert np.array_equal(huge, slide.read(0, 0, 200, 200, 100, 100))
        slide.regions = ()
        assert overview(slide, Area(0, 0, *SIZE), 30).shape == (20, 30, 3)
        assert len(slide.regions) == 1
