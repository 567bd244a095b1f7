"""How tiles reach the device: in order, in batches, ahead of time, and no longer than needed."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from tests.support.slides import a_picture, a_slide
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference.parallel_tiles import MappedTiles, map_tiles, share_tiles, workers
from worker.slides.slide import Slide

CARD = AlgorithmCard(
    name="eye",
    version="1",
    digest="0",
    title="Eye",
    description="",
    output="objects",
    classes=(),
    parameters={},
    mpp=0.8,
    tile_px=20,
    halo_px=3,
)


class CountingSlide(Slide):
    """A slide that counts the tiles that are read of it, and how often somebody asks for some."""

    reads = 0
    calls = 0

    def fill_tiles(
        self,
        tiles: Pixels,
        corners: Sequence[tuple[float, float]],
        downsample_x: float,
        downsample_y: float,
    ) -> None:
        self.reads += len(corners)
        self.calls += 1
        super().fill_tiles(tiles, corners, downsample_x, downsample_y)


def a_grid(slide: Slide) -> Grid:
    """Return the tiles of the whole slide."""
    return tile_grid(resolve_roi(None, slide.frame), slide.frame, CARD)


def readers() -> list[threading.Thread]:
    """The threads that read tiles."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("tiles")]


def copied_tiles(slide: Slide, grid: Grid, batch_tiles: int) -> Iterator[MappedTiles[Pixels]]:
    """Return copies of the pixels, which are overwritten."""
    return map_tiles(slide, grid, batch_tiles, np.copy)


@pytest.mark.parametrize("threads", [1, 4])
def test_tiles_come_in_order_with_their_halo(tmp_path: Path, threads: int) -> None:
    """Whatever thread is first, every tile is the slide's region around it; the last batch is what
    is left."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        grid = a_grid(slide)
        slide.threads = threads
        batches = list(copied_tiles(slide, grid, 8))
        assert [tile for batch in batches for tile in batch.tiles] == list(grid.tiles)
        assert [len(batch.value) for batch in batches] == [8, 8, 8, 8, 3]
        for batch in batches:
            for tile, found in zip(batch.tiles, batch.value, strict=True):
                assert np.array_equal(
                    found, slide.read(tile.x - 3 * 1.6, tile.y - 3 * 1.6, 26, 26, 1.6, 1.6)
                )


def test_results_come_in_order_whichever_is_first(tmp_path: Path) -> None:
    """The first batch is held back until later ones are done; what comes out is in the order of the
    tiles."""
    others = threading.Event()

    def function(pixels: Pixels) -> bytes:
        if pixels.tobytes() == first and not others.wait(30):
            raise TimeoutError
        others.set()
        return pixels.tobytes()

    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        slide.threads = 3
        expected = [batch.value.tobytes() for batch in copied_tiles(slide, a_grid(slide), 5)]
        first = expected[0]
        assert [batch.value for batch in map_tiles(slide, a_grid(slide), 5, function)] == expected


def test_a_grid_of_no_tiles_feeds_nothing(tmp_path: Path) -> None:
    """Where there is no tissue there are no batches."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        grid = a_grid(slide)
        assert list(copied_tiles(slide, replace(grid, tiles=grid.tiles[:0]), 8)) == []


def test_no_more_than_two_shares_for_each_thread_are_in_hand(tmp_path: Path) -> None:
    """Who takes no more keeps the threads from going on, however many tiles wait. The first shares
    are one batch."""
    with CountingSlide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        slide.threads = 2
        batches_of_tiles = copied_tiles(slide, a_grid(slide), 2)
        next(batches_of_tiles)
        assert 2 <= slide.reads <= 2 * 2 * 2
        next(batches_of_tiles)
        batches_of_tiles.close()
        assert slide.reads <= 2 * 2 * 2 + len(a_grid(slide).tiles) // (2 * 2)


def test_quick_tiles_are_taken_many_at_a_time_and_slow_ones_batch_by_batch() -> None:
    """Asking for tiles costs as much as decoding one; a thread that holds many for long shows no
    progress."""
    assert share_tiles(8, 0.0005, 40) == 40
    assert share_tiles(8, 0.0005, 39) == 32
    assert share_tiles(8, 0.003, 40) == 16
    assert share_tiles(8, 1.0, 40) == 8
    assert share_tiles(8, 0.0005, 3) == 8
    assert share_tiles(8, 0.0, 40) == 40


def test_a_share_is_worked_on_in_the_batches_that_it_would_have_been_asked_for_in(
    tmp_path: Path,
) -> None:
    """A network may answer other batches in other bits, and shares follow the clock."""
    with CountingSlide.open(a_slide(tmp_path / "a.svs", a_picture(803, 751))) as slide:
        slide.threads = 1
        batches = list(map_tiles(slide, a_grid(slide), 2, len))
        assert [batch.value for batch in batches[:-1]] == [2] * (len(batches) - 1)
        assert slide.calls < len(batches)


def test_what_divides_tiles_by_itself_gets_all_that_a_thread_has_read(tmp_path: Path) -> None:
    """Whole batches, so that it divides them as they would have been; the last one is the rest."""
    with CountingSlide.open(a_slide(tmp_path / "a.svs", a_picture(803, 751))) as slide:
        slide.threads = 1
        grid = a_grid(slide)
        shares = list(map_tiles(slide, grid, 2, np.copy, by_share=True))
        assert slide.calls == len(shares) < len(grid.tiles) // 2
        assert all(len(share.tiles) % 2 == 0 for share in shares[:-1])
        assert [tile for share in shares for tile in share.tiles] == list(grid.tiles)
        pixels = np.concatenate([share.value for share in shares])
        expected = [batch.value for batch in copied_tiles(slide, grid, 2)]
        assert np.array_equal(pixels, np.concatenate(expected))


def test_closing_in_the_middle_of_a_share_ends_it_after_its_batch(tmp_path: Path) -> None:
    """A scan that was cancelled does not wait for the rest of what its threads hold."""
    worked_on = []
    permits = threading.Semaphore(2)
    begun = threading.Semaphore(0)

    def function(pixels: Pixels) -> None:
        begun.release()
        if not permits.acquire(timeout=30):
            raise TimeoutError
        worked_on.append(len(pixels))

    with CountingSlide.open(a_slide(tmp_path / "a.svs", a_picture(803, 751))) as slide:
        slide.threads = 1
        batches_of_tiles = map_tiles(slide, a_grid(slide), 1, function)
        next(batches_of_tiles)
        next(batches_of_tiles)  # the third share is submitted, and longer than a batch
        assert all(begun.acquire(timeout=30) for _ in range(3))
        closing = threading.Thread(target=batches_of_tiles.close)
        closing.start()
        while closing.is_alive():
            permits.release()
            closing.join(0.1)
        assert slide.calls == 3
    assert len(worked_on) < 20 < len(a_grid(slide).tiles) // 2


def test_no_more_threads_work_than_there_are_batches(tmp_path: Path) -> None:
    """A small region leaves the other cores to each of its threads."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        slide.threads = 8
        assert [workers(slide, tiles, 4) for tiles in (0, 1, 4, 5, 29, 400)] == [1, 1, 1, 2, 8, 8]


def test_closing_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Who stops after the first batch finds the readers gone."""
    with Slide.open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        batches_of_tiles = copied_tiles(slide, a_grid(slide), 4)
        next(batches_of_tiles)
        assert readers()
        batches_of_tiles.close()
        assert not readers()


def test_a_broken_tile_ends_the_feed_with_its_refusal(tmp_path: Path) -> None:
    """The error of the slide is raised by the iterator, and the readers end."""
    path = a_slide(tmp_path / "a.svs", a_picture(203, 151), levels=(1,))
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[at : at + 500] = b"\xff" * 500
    path.write_bytes(data)
    with Slide.open(path) as slide, pytest.raises(OrderError) as caught:
        list(copied_tiles(slide, a_grid(slide), 4))
    assert caught.value.code == "slide_unreadable"
    assert not readers()
