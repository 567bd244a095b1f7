"""Stored JPEG tiles, decoded without OpenSlide: its pixels, each tile once, and smaller where that is wanted."""

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
from worker.slides.tiled_pyramid import Mosaic, TiledLevel

real_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="there is no ../shared/slides")


def agrees_with_openslide(
    path: Path, boxes: list[tuple[int, int, int, int]], downsample: float
) -> None:
    """Fail unless both readers give the same pixels for every box (x, y, width, height)."""
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
    """At whole positions of a level and resampled from one, inside, across tiles and beyond every edge."""
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
    """Stored as RGB with tables in the directory, and as YCbCr with halved colours."""
    random = np.random.default_rng(7)
    boxes = [(int(x), int(y), 300, 200) for x, y in random.integers(-100, 2400, (20, 2))]
    agrees_with_openslide(SLIDES / name, boxes, 1)


def test_openslide_is_closed_until_a_place_between_pixels_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open, it keeps 16 bytes for every stored tile; what it says once it is asked is what it always said."""
    path = a_slide(tmp_path / "a.svs", a_picture(900, 700), stored=JPEG_RGB)
    between = 33.5, 20.25, 50, 40, 1, 1
    with Slide(open_openslide(path, "aperio")) as theirs:
        expected = theirs.read(*between)

    class Counted(openslide.OpenSlide):
        is_open = True

        def __init__(self, path: Path) -> None:
            super().__init__(path)
            known.append(self)

        def close(self) -> None:
            super().close()
            self.is_open = False

    known: list[Counted] = []
    monkeypatch.setattr(openslide, "OpenSlide", Counted)
    with Slide.open(path) as ours:
        ours.read(32, 20, 50, 40, 1, 1)
        assert [one.is_open for one in known] == [False]
        assert np.array_equal(ours.read(*between), expected)
        assert [one.is_open for one in known] == [False, True]
    assert [one.is_open for one in known] == [False, False]


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_smaller_picture_is_decoded_smaller(tmp_path: Path, reduction: int) -> None:
    """Where no stored level serves, each pixel is about the mean of those it stands for."""
    squares = (a_picture(64, 48) // 4 + 96).repeat(16, axis=0).repeat(16, axis=1)
    path = a_slide(tmp_path / "a.svs", squares, levels=(1,), stored=JPEG_RGB)
    with Slide.open(path) as slide:
        full = slide.read(0, 0, 1024, 768, 1, 1).astype(float)
        small = slide.read(0, 0, 1024 // reduction, 768 // reduction, reduction, reduction)
    means = full.reshape(768 // reduction, reduction, 1024 // reduction, reduction, 3).mean((1, 3))
    off = small - means
    assert abs(off.mean()) < 0.5
    assert np.abs(off).mean() < 3


def test_smaller_tiles_join_without_a_seam(tmp_path: Path) -> None:
    """A region read across stored tiles is the same as its parts read one by one, wherever these begin."""
    path = a_slide(tmp_path / "a.svs", a_picture(600, 400), levels=(1,), stored=JPEG_RGB)
    with Slide.open(path) as slide:
        once = slide.read(0, 0, 200, 100, 2, 2)
        parts = [slide.read(2 * x, 0, 40, 100, 2, 2) for x in range(0, 200, 40)]
    assert np.array_equal(once, np.concatenate(parts, axis=1))


def test_a_tile_that_many_threads_want_is_decoded_once() -> None:
    """Whoever asks first decodes; all others wait for that."""
    seen: Counter[int] = Counter()
    cache, together = TileCache(2**20), threading.Barrier(8)

    def want(number: int) -> Pixels | None:
        def decode() -> Pixels:
            seen[number] += 1
            return np.full((4, 4, 3), number, np.uint8)

        together.wait(10)
        return cache.get(number, decode)

    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            tiles = list(pool.map(want, [number] * 8))
        assert all(tile is tiles[0] for tile in tiles)
    assert set(seen.values()) == {1}


def test_a_fault_is_told_to_all_who_wait_and_not_kept() -> None:
    """The next one to ask tries again."""
    cache = TileCache(2**20)
    with pytest.raises(ValueError, match="damaged"):
        cache.get("a", lambda: (_ for _ in ()).throw(ValueError("damaged")))
    assert cache.get("a", lambda: np.ones((1, 1, 3), np.uint8)) is not None


def test_a_tile_that_was_read_whole_is_let_go() -> None:
    """Its neighbours have had their parts; what is left of others stays, for those are wanted again."""
    decoded: Counter[int] = Counter()
    cache = TileCache(2**20)

    def read(number: int, pixels: int) -> None:
        def decode() -> Pixels:
            decoded[number] += 1
            return np.zeros((4, 4, 3), np.uint8)

        cache.get(number, decode)
        cache.used(number, pixels)

    for number, pixels in [(1, 8), (2, 15), (1, 8), (1, 1), (2, 1), (2, 1)]:
        read(number, pixels)
    assert decoded == {1: 2, 2: 2}


def test_whole_tiles_are_decoded_where_they_are_wanted() -> None:
    """Of a region that is one stored tile, or several beside each other, none is decoded elsewhere and copied."""
    where: list[bool] = []
    region = np.zeros((2, 16, 16, 3), np.uint8)

    def load_into(column: int, row: int, pixels: Pixels) -> bool:
        where.append(np.shares_memory(pixels, region))
        pixels[...] = 10 * column + row
        return True

    level = TiledLevel(
        64, 64, 16, 16, lambda _column, _row: pytest.fail("decoded elsewhere"), load_into
    )
    mosaic = Mosaic([level])
    for number, pixels in enumerate(region):
        mosaic.fill(pixels, 0, 16 * number, 32)
    assert where == [True, True]
    assert [pixels.mean() for pixels in region] == [2, 12]
