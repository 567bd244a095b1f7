"""Stored JPEG tiles decoded without OpenSlide: same pixels, each tile once, reduced if possible."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest

from tests.support.paths import SLIDES
from tests.support.slides import JPEG_RGB, JPEG_YCBCR, a_picture, a_slide
from worker.geometry.frame import Pixels
from worker.slides.openslide_reader import open_openslide
from worker.slides.slide import Slide
from worker.slides.tile_cache import TileCache
from worker.slides.tiled_pyramid import TiledLevel, TiledPyramid

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")


def agrees_with_openslide(
    path: Path, boxes: list[tuple[int, int, int, int]], downsample: float
) -> None:
    """Fail unless both readers return the same pixels for every box (x, y, width, height)."""
    with Slide.open(path) as ours, Slide(open_openslide(path, "aperio")) as theirs:
        assert "libjpeg-turbo" in ours.reader
        for box in boxes:
            assert np.array_equal(
                *(slide.read(*box, downsample, downsample) for slide in (ours, theirs))
            )


@pytest.mark.parametrize("stored", [JPEG_RGB, JPEG_YCBCR])
@pytest.mark.parametrize("downsample", [1, 1.5, 1.99, 4, 7.9])
def test_their_pixels_are_openslide_s(
    tmp_path: Path, downsample: float, stored: Mapping[str, Any]
) -> None:
    """Regions at whole positions and resampled ones, inside, across tiles and beyond every edge."""
    path = a_slide(tmp_path / "a.svs", a_picture(900, 700), levels=(1, 4), stored=stored)
    boxes = [
        (0, 0, 64, 64),
        (16, 32, 200, 120),
        (-40, -28, 90, 70),
        (860, 660, 80, 80),
        (5000, 0, 9, 9),
    ]
    agrees_with_openslide(path, boxes, downsample)


@real_slides
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "synth-he-8k.svs", "synth-ihc-8k.svs"])
def test_of_real_slides_too(name: str) -> None:
    """Slides in RGB with tables in the directory, and in YCbCr with subsampled colors."""
    random = np.random.default_rng(7)
    boxes = [(int(x), int(y), 300, 200) for x, y in random.integers(-100, 2400, (20, 2))]
    agrees_with_openslide(SLIDES / name, boxes, 1)


def test_openslide_is_closed_until_a_place_between_pixels_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open handle takes 16 bytes for every stored tile.

    A reopened one returns the same pixels.
    """
    path = a_slide(tmp_path / "a.svs", a_picture(900, 700), stored=JPEG_RGB)
    between = 33.5, 20.25, 50, 40, 1, 1
    with Slide(open_openslide(path, "aperio")) as theirs:
        expected = theirs.read(*between)

    class RecordedHandle(openslide.OpenSlide):
        is_open = True

        def __init__(self, path: Path) -> None:
            super().__init__(path)
            handles.append(self)

        def close(self) -> None:
            super().close()
            self.is_open = False

    handles: list[RecordedHandle] = []
    monkeypatch.setattr(openslide, "OpenSlide", RecordedHandle)
    with Slide.open(path) as ours:
        ours.read(32, 20, 50, 40, 1, 1)
        assert [handle.is_open for handle in handles] == [False]
        assert np.array_equal(ours.read(*between), expected)
        assert [handle.is_open for handle in handles] == [False, True]
    assert [handle.is_open for handle in handles] == [False, False]


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_smaller_picture_is_decoded_smaller(tmp_path: Path, reduction: int) -> None:
    """If no stored level fits, each pixel is about the mean of those that it stands for."""
    squares = (a_picture(64, 48) // 4 + 96).repeat(16, axis=0).repeat(16, axis=1)
    path = a_slide(tmp_path / "a.svs", squares, levels=(1,), stored=JPEG_RGB)
    with Slide.open(path) as slide:
        full = slide.read(0, 0, 1024, 768, 1, 1).astype(float)
        small = slide.read(0, 0, 1024 // reduction, 768 // reduction, reduction, reduction)
    means = full.reshape(768 // reduction, reduction, 1024 // reduction, reduction, 3).mean((1, 3))
    difference = small - means
    assert abs(difference.mean()) < 0.5
    assert np.abs(difference).mean() < 3


def test_smaller_tiles_join_without_a_seam(tmp_path: Path) -> None:
    """A region across stored tiles equals its parts read one by one, wherever these begin."""
    path = a_slide(tmp_path / "a.svs", a_picture(600, 400), levels=(1,), stored=JPEG_RGB)
    with Slide.open(path) as slide:
        once = slide.read(0, 0, 200, 100, 2, 2)
        parts = [slide.read(2 * x, 0, 40, 100, 2, 2) for x in range(0, 200, 40)]
    assert np.array_equal(once, np.concatenate(parts, axis=1))


def test_a_tile_that_many_threads_want_is_decoded_once() -> None:
    """The first thread decodes the tile, and all others wait for it."""
    seen: Counter[int] = Counter()
    cache = TileCache(2**20)
    barrier = threading.Barrier(8)

    def request(number: int) -> Pixels | None:
        def decode() -> Pixels:
            seen[number] += 1
            return np.full((4, 4, 3), number, np.uint8)

        barrier.wait(60)
        return cache.get(number, decode)

    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            tiles = list(pool.map(request, [number] * 8))
        assert all(tile is tiles[0] for tile in tiles)
    assert set(seen.values()) == {1}


def test_a_fault_is_told_to_all_who_wait_and_not_kept() -> None:
    """An error is not cached: the next request decodes again."""
    cache = TileCache(2**20)
    with pytest.raises(ValueError, match="damaged"):
        cache.get("a", lambda: (_ for _ in ()).throw(ValueError("damaged")))
    assert cache.get("a", lambda: np.ones((1, 1, 3), np.uint8)) is not None


def test_a_tile_that_was_read_whole_is_let_go() -> None:
    """A tile is removed once all of its pixels were read; one that was read in part stays."""
    decoded: Counter[int] = Counter()
    cache = TileCache(2**20)

    def read(number: int, pixels: int) -> None:
        def decode() -> Pixels:
            decoded[number] += 1
            return np.zeros((4, 4, 3), np.uint8)

        cache.get(number, decode)
        cache.mark_read(number, pixels)

    for number, pixels in [(1, 8), (2, 15), (1, 8), (1, 1), (2, 1), (2, 1)]:
        read(number, pixels)
    assert decoded == {1: 2, 2: 2}


def test_whole_tiles_are_decoded_where_they_are_wanted() -> None:
    """A region of one stored tile, or of several, is decoded in place and not copied."""
    is_in_place: list[bool] = []
    region = np.zeros((2, 16, 16, 3), np.uint8)

    def load_into(column: int, row: int, pixels: Pixels) -> bool:
        is_in_place.append(np.shares_memory(pixels, region))
        pixels[...] = 10 * column + row
        return True

    level = TiledLevel(
        64, 64, 16, 16, lambda _column, _row: pytest.fail("decoded elsewhere"), load_into
    )
    pyramid = TiledPyramid([level])
    for number, pixels in enumerate(region):
        pyramid.fill(pixels, 0, 16 * number, 32)
    assert is_in_place == [True, True]
    assert [pixels.mean() for pixels in region] == [2, 12]
