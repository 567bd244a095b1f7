"""A region of a slide behind a URL shows and yields what the whole file does, for a fraction of its
bytes.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Percent, Polygon, Rectangle, Roi
from tests.support.paths import SLIDES
from tests.support.remote_regions import CARD, GENERIC, ROI, RegionFetcher, Slides, noise_slide
from worker.algorithms.builtin.cards import grid_card, ki67_card
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.inference import tissue
from worker.results.overlay import drawing
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.slide import Slide

SYNTH = SLIDES / "synth-he-8k.svs"
COARSE = CARD.model_copy(update={"mpp": 4.0, "tile_px": 16, "halo_px": 4})


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[RegionFetcher]:
    with RegionFetcher.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Slides:
    folder = tmp_path_factory.mktemp("slides")
    return {name: noise_slide(folder, name) for name in ("aperio", "one level", *GENERIC)}


def seen(path: Path, roi: Roi, card: AlgorithmCard) -> list[Pixels]:
    """All pixels that classifying a region reads: its overviews, as picture and as tissue, and its
    tiles with halos.
    """
    with Slide.open(path) as slide:
        area = resolve_roi(roi, slide.frame)
        pixels = [slide.overview(area, drawing.MAX_PX)]
        if card.mpp:
            grid = tile_grid(area, slide.frame, card)
            pixels.append(
                np.array([tile.index for tile in tissue.tissue_tiles(slide, grid).tiles], np.uint8)
            )
            for tile in grid.tiles:
                x, y = (
                    tile.x - grid.halo_px * grid.downsample_x,
                    tile.y - grid.halo_px * grid.downsample_y,
                )
                pixels.append(
                    slide.read(
                        x, y, grid.read_px, grid.read_px, grid.downsample_x, grid.downsample_y
                    )
                )
        return pixels


def shows_the_same(copy: LocalSlide | None, slide: Path, roi: Roi, card: AlgorithmCard) -> bool:
    assert copy
    assert copy.path != slide
    one, other = seen(copy.path, roi, card), seen(slide, roi, card)
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def needed_bytes(slide: Path, roi: Rectangle) -> int:
    """The bytes of the level-0 tiles that the region itself touches."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        columns = -(-page.imagewidth // page.tilewidth)
        rows = range(roi.y // page.tilelength, -(-(roi.y + roi.height) // page.tilelength))
        across = range(roi.x // page.tilewidth, -(-(roi.x + roi.width) // page.tilewidth))
        return sum(page.databytecounts[row * columns + column] for row in rows for column in across)


@pytest.mark.parametrize(
    ("name", "roi"),
    [
        *(("aperio", roi) for roi in (
            ROI,
            Rectangle(x=0, y=0, width=100, height=90),
            Rectangle(x=1900, y=1500, width=100, height=400),
            Rectangle(x=5, y=900, width=700, height=3),
            Polygon(polygon=((100.5, 100.5), (400, 120), (300, 380.25))),
            Percent(pct=(50, 50, 10, 12.5)),
        )),
        *((name, ROI) for name in ("one level", *GENERIC)),
        ("one level", Rectangle(x=5, y=900, width=1000, height=3)),
    ],
)  # fmt: skip
def test_a_region_shows_what_the_whole_file_shows(
    fetcher: RegionFetcher, slides: Slides, name: str, roi: Roi
) -> None:
    """Overviews, tissue and every tile with its halo are the same to the last bit, for less than
    half of the bytes.
    """
    fetcher.roi = roi
    copy = fetcher.fetch(fetcher.serve(slides[name].read_bytes()))
    assert shows_the_same(copy, slides[name], roi, CARD)
    assert fetcher.served.sent_bytes < 0.5 * slides[name].stat().st_size


@pytest.mark.parametrize("card", [COARSE, grid_card()], ids=["coarse tiles", "a report"])
def test_coarse_tiles_and_reports_see_the_same(
    fetcher: RegionFetcher, slides: Slides, card: AlgorithmCard
) -> None:
    """An algorithm that works at a coarse resolution, and one that reads no tiles, see what the
    whole file shows.
    """
    fetcher.card = card
    assert shows_the_same(
        fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes())), slides["aperio"], ROI, card
    )


@pytest.mark.skipif(not SYNTH.exists(), reason="the shared slides are not here")
def test_a_scanners_slide_is_read_in_parts(fetcher: RegionFetcher) -> None:
    """Of an SVS with JPEG tiles a region shows what the whole file shows, for less than a third of
    its bytes.
    """
    fetcher.roi, fetcher.card = Rectangle(x=3000, y=3000, width=1000, height=1000), ki67_card()
    copy = fetcher.fetch(fetcher.serve(SYNTH.read_bytes()))
    assert shows_the_same(copy, SYNTH, fetcher.roi, fetcher.card)
    assert fetcher.served.sent_bytes < 0.3 * SYNTH.stat().st_size


def test_hardly_more_comes_than_the_tiles_that_are_needed(
    fetcher: RegionFetcher, slides: Slides
) -> None:
    """Without halos, all that the server sends is at most 1.6 times the region's own tiles."""
    fetcher.roi = roi = Rectangle(x=384, y=384, width=800, height=800)
    fetcher.card = CARD.model_copy(update={"tile_px": 100, "halo_px": 0})
    assert fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes()))
    assert fetcher.served.sent_bytes < 1.6 * needed_bytes(slides["aperio"], roi)


@pytest.mark.parametrize(
    ("x", "y", "level"), [(200, 500, 0), (700, 100, 0), (700, 1400, 0), (0, 0, 1)]
)
def test_what_was_not_fetched_is_never_shown(
    fetcher: RegionFetcher, slides: Slides, x: int, y: int, level: int
) -> None:
    """A read beyond the region is an error on every level, and no picture of a hole."""
    copy = fetcher.fetch(fetcher.serve(slides["aperio"].read_bytes()))
    assert copy
    with (
        Slide.open(copy.path) as slide,
        pytest.raises(OrderError, match="reach beyond what was fetched"),
    ):
        slide.read(x, y, 64, 64, 4**level, 4**level)


def test_the_copy_takes_the_disk_of_what_came(fetcher: RegionFetcher, slides: Slides) -> None:
    """In the slide cache a part counts as the disk it takes; it is told by its content, wherever it
    came from.
    """
    content = slides["aperio"].read_bytes()
    one, other = (
        fetcher.fetch(fetcher.serve(content, path=path)) for path in ("/one.svs", "/other.svs")
    )
    assert one
    assert one == other
    assert one.bytes < 0.2 * len(content)
    with tifffile.TiffFile(one.path.with_name("slide.tif")) as tiff:
        assert tiff.filehandle.size == len(content)
