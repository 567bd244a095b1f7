"""A million findings over their slide: every outline lies where its pixels are, in every zoom."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from playwright.sync_api import Browser

from benchmarks.page.many_findings import write_findings
from benchmarks.page.painted_slide import white, write_slide
from benchmarks.page.stage_server import StageSite, stage_site
from tests.support.browser_stage import StagePage, stage_page
from worker.geometry.frame import Floats, Pixels

pytestmark = pytest.mark.timeout(600)

EDGE = 16_384
PITCH = 16
COUNT = 1_000_000
BLOCK = np.array([(0, 0), (400, 0), (400, 300), (0, 300)], np.float64)
CORNERS = ((1040, 1000), (15_600, 15_500), (8_200, 300))
"""Where the painted blocks lie: beside borders of tiles, and far from the origin."""
ZOOMS = (0.25, 1.0, 1.5)
"""Screen pixels per level-0 pixel; between two levels of the layer, too."""
OFF_CENTRE = np.array((7.3, 5.1))
"""How far the middle of the view lies from that of a block, in level-0 pixels."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageSite]:
    """A slide on which the blocks are painted, and a million findings of which they are three."""
    folder = tmp_path_factory.mktemp("million")
    shapes = blocks()
    slide = write_slide(folder / "painted.tiff", EDGE, EDGE, white(), shapes)
    (folder / "result").mkdir()
    found = write_findings(folder / "result", EDGE, EDGE, COUNT, PITCH, shapes)
    with stage_site(folder / "data", {"painted": slide}, {"million": found}) as running:
        yield running


def blocks() -> list[Floats]:
    return [BLOCK + np.array(corner) for corner in CORNERS]


def show_blocks(stage: StagePage) -> None:
    """Show the blocks alone: no other finding has a score of 1."""
    stage.page.evaluate(
        "stage.setStyle({...stage.style, shown: [false, true], threshold: 1,"
        " colors: ['#00ff00', '#ff00ff']})"
    )


def set_opacity(stage: StagePage, opacity: float) -> Pixels:
    """Return the picture with the findings as visible as this."""
    stage.page.evaluate(f"stage.setStyle({{...stage.style, opacity: {opacity}}})")
    return stage.until_still()


def painted_edges(picture: Pixels, box: Floats) -> Floats:
    """Return where the dark block ends on the screen: left, upper, right, lower edge.

    `box`: about where, in the same order. A half-covered pixel counts half.
    """
    light = picture.mean(axis=2)
    left, top, right, bottom = np.rint(box).astype(int)
    black = np.median(light[top + 10 : bottom - 10, left + 10 : right - 10])
    white = np.median(light[top - 20 : top - 5, left:right])
    dark = np.clip((white - light) / (white - black), 0, 1)
    row = dark[(top + bottom) // 2, left - 20 : right + 20]
    column = dark[top - 20 : bottom + 20, (left + right) // 2]
    middle_x = len(row) // 2
    middle_y = len(column) // 2
    return np.array(
        [
            left - 20 + middle_x - row[:middle_x].sum(),
            top - 20 + middle_y - column[:middle_y].sum(),
            left - 20 + middle_x + row[middle_x:].sum(),
            top - 20 + middle_y + column[middle_y:].sum(),
        ]
    )


def line_middles(change: Floats, box: Floats) -> Floats:
    """Return where the lines around the block are, in the same order, by what they change."""
    left, top, right, bottom = np.rint(box).astype(int)
    across = change[top + 20 : bottom - 20].sum(axis=0)
    down = change[:, left + 20 : right - 20].sum(axis=1)
    places = []
    for profile, edge in ((across, left), (down, top), (across, right), (down, bottom)):
        near = np.arange(edge - 8, edge + 8)
        weights = profile[near]
        assert weights.sum() > 0, "no line is there"
        places.append(((near + 0.5) * weights).sum() / weights.sum())
    return np.array(places)


def test_outlines_lie_on_their_pixels(chromium: Browser, site: StageSite) -> None:
    """Painted edges and drawn lines agree on the screen, near and far from the origin."""
    with stage_page(chromium, site, "slide=painted&findings=million") as stage:
        stage.until_open()
        show_blocks(stage)
        for zoom, corner in product(ZOOMS, CORNERS):
            centre = np.array(corner) + BLOCK.mean(axis=0)
            stage.show(*(centre + OFF_CENTRE), zoom)
            stage.until_drawn()
            drawn = set_opacity(stage, 1)
            plain = set_opacity(stage, 0)
            middle = np.array(plain.shape[1::-1]) / 2 - OFF_CENTRE * zoom
            half = BLOCK.max(axis=0) / 2 * zoom
            box = np.concatenate([middle - half, middle + half])
            painted = painted_edges(plain, box)
            change = np.abs(drawn.astype(np.float64) - plain).sum(axis=2)
            assert np.abs(painted - box).max() <= 1.5
            assert np.abs(line_middles(change, box) - painted).max() <= 0.75


def test_a_million_are_counted_and_none_is_left_out(chromium: Browser, site: StageSite) -> None:
    """The whole slide at once counts all of them, and asks for a few coarse tiles alone."""
    site.asked.clear()
    with stage_page(chromium, site, "slide=painted&findings=million") as stage:
        stage.until_drawn()
        total = sum(found["count"] for found in stage_document(stage))
        assert total > 0.99 * COUNT
        seen = stage.until(lambda: stage.state("inView"), "counts in view")
        assert sum(seen["counts"]) == total
        assert seen["exact"] is False
        assert len(set(site.asked)) < 100
        words = stage.page.locator('.viewer-hidden[aria-live="polite"]')
        stage.until(lambda: "In view: about" in words.inner_text(), "the counts in words")


def stage_document(stage: StagePage) -> list[dict[str, int]]:
    """The classes of the result that is shown."""
    classes: list[dict[str, int]] = stage.page.evaluate(
        "fetch('/results/million/findings.json').then(a => a.json()).then(d => d.classes)"
    )
    return classes


def test_a_class_that_is_off_leaves_the_picture(chromium: Browser, site: StageSite) -> None:
    """Toggled by its checkbox, its colour is gone; toggled back, the picture is the same again."""
    with stage_page(chromium, site, "slide=painted&findings=million&view=8000,4000,0.5") as stage:
        stage.until_drawn()
        before = stage.until_still()
        names = ("negative", "positive")
        for name in names:
            stage.page.get_by_role("checkbox", name=name).uncheck()
        stage.until(lambda: plain(stage.picture()), "a slide without findings")
        for name in names:
            stage.page.get_by_role("checkbox", name=name).check()
        stage.until(lambda: np.array_equal(stage.picture(), before), "the first picture again")


def plain(picture: Pixels) -> bool:
    """Whether the white slide shows no colour."""
    spread = picture.max(axis=2).astype(np.int64) - picture.min(axis=2)
    return bool(spread.max() < 12)
