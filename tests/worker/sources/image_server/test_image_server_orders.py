"""Orders for slides on an image server: asked once, found the same, with the microns that somebody
says.
"""

import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.image_server import Behavior, ImageServer
from tests.support.image_server_fetch import ImageServerFetcher, region
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from tests.support.tissue_sections import SETTINGS, section
from worker.algorithms import registry
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import Grid, tile_grid
from worker.inference import tissue
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results.objects import Objects
from worker.results.overlay import drawing
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.slide import Slide

PHYSICAL = {"@context": "http://iiif.io/api/annex/services/physdim/1/context.json",
            "profile": "http://iiif.io/api/annex/services/physdim"}  # fmt: skip
CARD = registry.load("ki67", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES).card
HIDDEN = {"profile": "level2", "maxWidth": 200}


def read_tiles(slide: Slide, grid: Grid) -> list[Pixels]:
    """All tiles with their halo."""
    margin_x, margin_y = grid.halo_px * grid.downsample_x, grid.halo_px * grid.downsample_y
    size = grid.read_px, grid.read_px, grid.downsample_x, grid.downsample_y
    return [slide.read(tile.x - margin_x, tile.y - margin_y, *size) for tile in grid.tiles]


def found(path: Path, roi: Any) -> tuple[Objects, np.ndarray]:
    """What `ki67` finds in a region, and the overview that its picture is drawn on."""
    model: Any = registry.load("ki67", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    with Slide.open(path, 0.5) as slide:
        area = resolve_roi(roi, slide.frame)
        pixels = np.stack(
            read_tiles(slide, tissue.tissue_tiles(slide, tile_grid(area, slide.frame, model.card)))
        )
        return model.calibrate(pixels).classify(pixels)[0], slide.overview(area, drawing.MAX_PX)


@pytest.mark.parametrize("roi", [None, {"x": 100, "y": 60, "width": 300, "height": 333}])
def test_findings_are_those_of_the_file(tmp_path: Path, roi: dict[str, int] | None) -> None:
    """To the last bit, as is the picture they are drawn on: every pixel that is
    read is the same.
    """
    pixels, asked = section(7).pixels, region(**roi) if roi else None
    from_file, picture = found(a_slide(tmp_path / "a.svs", pixels, levels=(1,)), asked)
    with ImageServer(pixels, Behavior(info=HIDDEN)) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path / "cache", roi=asked, card=CARD)
        from_server, same_picture = fetcher.fetch(lambda copy: found(copy.path, asked))
    assert len(from_file) > 20
    assert np.array_equal(from_file.centres, from_server.centres)
    assert all(map(np.array_equal, from_file.outlines, from_server.outlines))
    assert np.array_equal(from_file.scores, from_server.scores)
    assert np.array_equal(picture, same_picture)


@pytest.mark.parametrize("halo_px", [0, 16])
@pytest.mark.parametrize("mpp", [0.26, 0.5, 0.98])
@pytest.mark.parametrize("card_mpp", [None, 0.5])
def test_all_that_an_order_reads_is_fetched(
    tmp_path: Path, mpp: float, halo_px: int, card_mpp: float | None
) -> None:
    """Tiles with their halo, the overview that tissue is found on, the picture; at any resolution,
    at odd places.
    """
    card = CARD.model_copy(update={"halo_px": halo_px, "tile_px": 128, "mpp": card_mpp})
    roi = region(x=501, y=703, width=2503, height=211)

    def read(copy: LocalSlide) -> None:
        with Slide.open(copy.path, mpp=mpp) as slide:
            area = resolve_roi(roi, slide.frame)
            slide.overview(area, drawing.MAX_PX)
            if card_mpp:
                assert read_tiles(
                    slide, tissue.tissue_tiles(slide, tile_grid(area, slide.frame, card))
                )

    with ImageServer(a_picture(3600, 1400)) as origin:
        ImageServerFetcher(origin, tmp_path, roi=roi, mpp=mpp, card=card).fetch(read)


@pytest.mark.parametrize(
    ("said", "mpp"),
    [
        ({"physicalScale": 0.00025, "physicalUnits": "mm"}, 0.25),
        ({"physicalScale": 0.00005, "physicalUnits": "cm"}, 0.5),
        ({"physicalScale": 0.00001, "physicalUnits": "in"}, 0.254),
        ({"physicalScale": 0.00001, "physicalUnits": "pt"}, None),
        ({"physicalScale": "?", "physicalUnits": "mm"}, None),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_microns_come_from_the_service_block(
    tmp_path: Path,
    said: dict[str, Any],
    mpp: float | None,
    listed: bool,
) -> None:
    """The server's physical dimensions are its word; where there are none, the order's count."""
    service = (
        [{"profile": "http://example.org/other"}, PHYSICAL | said] if listed else PHYSICAL | said
    )
    with ImageServer(a_picture(99, 99), Behavior(info={"service": service})) as origin:
        frame = ImageServerFetcher(origin, tmp_path, card=CARD, mpp=0.7).fetch(
            lambda copy: Slide.open(copy.path, 0.7).frame
        )
    expected = (mpp, "server") if mpp else (0.7, "order")
    assert (pytest.approx(frame.mpp_x), frame.mpp_source) == expected


def test_a_slide_without_microns_fails_before_its_pixels_are_fetched(tmp_path: Path) -> None:
    """Neither order nor server say how large a pixel is."""
    with ImageServer(a_picture(99, 99)) as origin:
        error = ImageServerFetcher(origin, tmp_path, card=CARD, mpp=None).refusal()
        assert (error.code, origin.boxes) == ("mpp_missing", [])


def test_a_region_outside_fails_before_its_pixels_are_fetched(tmp_path: Path) -> None:
    """The server tells the size of the slide."""
    with ImageServer(a_picture(99, 99)) as origin:
        error = ImageServerFetcher(
            origin, tmp_path, roi=region(x=99, y=0, width=9, height=9)
        ).refusal()
        assert (error.code, origin.boxes) == ("roi_outside_slide", [])


def test_a_region_is_fetched_again_only_when_the_image_changed(tmp_path: Path) -> None:
    """Within ten minutes the description alone is asked for; a changed one brings
    the pixels again.
    """
    with ImageServer(a_picture(99, 99)) as origin:
        fetcher = ImageServerFetcher(origin, tmp_path)
        first, again = fetcher.fetch(), fetcher.fetch()
        assert (first.digest, len(origin.boxes), len(origin.asked)) == (again.digest, 4, 6)
        origin.pixels = a_picture(98, 99)
        assert fetcher.fetch().digest != first.digest


def test_two_orders_at_once_fetch_a_region_once(tmp_path: Path) -> None:
    """The second waits for the first and finds what it brought."""
    gate = threading.Event()

    def late(handler: Any, body: bytes) -> None:
        gate.wait(60)
        handler.answer(200, body)

    with ImageServer(a_picture(99, 99), Behavior(send=late)) as origin, ExitStack() as stack:
        listeners = [Listener(), Listener()]
        digests: list[str] = []

        def order(progress: Listener) -> None:
            digests.append(ImageServerFetcher(origin, tmp_path).fetch(progress=progress).digest)

        threads = [threading.Thread(target=order, args=(progress,)) for progress in listeners]
        stack.callback(gate.set)
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while "waiting" not in {
            stage for progress in listeners for stage, _, _ in list(progress.heard)
        }:
            assert time.monotonic() < until
            time.sleep(0.01)
        gate.set()
        for thread in threads:
            thread.join(20)
        assert (len(set(digests)), len(digests), len(origin.boxes)) == (1, 2, 4)


def test_pieces_come_four_at_a_time_and_are_told(tmp_path: Path) -> None:
    """No answer goes out before four are asked for; the progress shows all bytes, and of no total
    that nobody knows.
    """
    gate, progress, sent = threading.Barrier(4), Listener(), []

    def together(handler: Any, body: bytes) -> None:
        gate.wait(60)
        sent.append(len(body))
        handler.answer(200, body)

    with ImageServer(
        a_picture(800, 100), Behavior(info={"maxWidth": 100}, send=together)
    ) as origin:
        ImageServerFetcher(origin, tmp_path).fetch(progress=progress)
    told = [done for stage, done, total in progress.heard if (stage, total) == ("fetching", 0)]
    assert told == sorted(told)
    assert sum(sent[:-1]) - 1000 < told[-1] < sum(sent) + 1000


def test_an_order_names_its_token_nowhere(tmp_path: Path) -> None:
    """Nothing that stays in the slide cache holds it."""
    with ImageServer(a_picture(99, 99)) as origin:
        ImageServerFetcher(origin, tmp_path).fetch()
        assert not [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and b"5ecre7" in path.read_bytes()
        ]
