"""How tiles reach the device: in order, in batches, ahead of time, and no longer than wanted."""

import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
from makers import a_picture, a_slide

from broker.card import Card
from broker.errors import OrderError
from worker.areas import area_of
from worker.feed import batches
from worker.slide import Slide
from worker.tiles import cut
from worker.values import Grid, Pixels

CARD = Card(name="eye", version="1", digest="0", title="Eye", description="", output="objects", classes=(),
            parameters={}, mpp=0.8, tile_px=20, halo_px=3)  # fmt: skip


class CountingSlide(Slide):
    """A slide that counts what is read of it."""

    reads = 0

    def fill(self, region: Pixels, x: float, y: float, downsample_x: float, downsample_y: float) -> None:
        self.reads += 1
        super().fill(region, x, y, downsample_x, downsample_y)


def a_grid(slide: Slide) -> Grid:
    """The whole slide, cut."""
    return cut(area_of(None, slide.frame), slide.frame, CARD)


def readers() -> list[threading.Thread]:
    """The threads that read tiles."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("tiles")]


@pytest.mark.parametrize("threads", [1, 4])
def test_tiles_come_in_order_with_their_halo(tmp_path: Path, threads: int) -> None:
    """Whatever thread is first, every tile is the slide's region around it; the last batch is what is left."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        grid, slide.threads = a_grid(slide), threads
        fed = list(batches(slide, grid, 8))
        assert [tile for tiles, _ in fed for tile in tiles] == list(grid.tiles)
        assert [len(pixels) for _, pixels in fed] == [8, 8, 8, 8, 3]
        for tiles, pixels in fed:
            for tile, found in zip(tiles, pixels, strict=True):
                assert np.array_equal(found, slide.read(tile.x - 3 * 1.6, tile.y - 3 * 1.6, 26, 26, 1.6, 1.6))


def test_a_grid_of_no_tiles_feeds_nothing(tmp_path: Path) -> None:
    """Where there is no tissue there are no batches."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        grid = a_grid(slide)
        assert list(batches(slide, Grid(grid.area, 20, 3, 1.6, 1.6, ()), 8)) == []


def test_no_more_than_two_batches_are_read_ahead(tmp_path: Path) -> None:
    """While the device has a batch, at most two more are read, however many tiles wait."""
    with CountingSlide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        feed = batches(slide, a_grid(slide), 4)
        next(feed)
        assert slide.reads <= 12
        next(feed)
        assert slide.reads <= 16
        feed.close()
        assert slide.reads <= 16


def test_closing_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Who stops after the first batch finds the readers gone."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        feed = batches(slide, a_grid(slide), 4)
        next(feed)
        assert readers()
        feed.close()
        assert not readers()


def test_a_broken_tile_ends_the_feed_with_its_refusal(tmp_path: Path) -> None:
    """What the slide says comes out of the feed, and the readers end."""
    path = a_slide(tmp_path / "a.svs", a_picture(203, 151), levels=(1,))
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[at : at + 500] = b"\xff" * 500
    path.write_bytes(data)
    with Slide.open(path) as slide, pytest.raises(OrderError) as caught:
        list(batches(slide, a_grid(slide), 4))
    assert caught.value.code == "slide_unreadable"
    assert not readers()
