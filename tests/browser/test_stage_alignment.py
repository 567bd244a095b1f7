"""A million findings over their slide: every outline lies where its pixels are, in every zoom."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from benchmarks.page.many_findings import write_findings
from benchmarks.page.painted_slide import white, write_slide
from benchmarks.page.stage_server import StageSite, stage_site
from tests.support.browser_stage import StagePage, chromium, needs_chromium, stage_page
from worker.geometry.frame import Floats, Pixels

pytestmark = [needs_chromium, pytest.mark.timeout(600)]

EDGE = 16_384
PITCH = 16
COUNT = 1_000_000
BLOCK = np.array([(0, 0), (400, 0), (400, 300), (0, 300)], np.float64)
CORNERS = ((1040, 1000), (15_600, 15_500), (8_200, 300))
"""Where the painted blocks lie: beside borders of tiles, and far from the origin."""
MARK = (255, 0, 255)
DARK = 90


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


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


def is_mark(picture: Pixels) -> np.ndarray:
    """Where the colour of the findings is."""
    away = np.abs(picture.astype(np.int64) - np.array(MARK)).max(axis=2)
    return np.asarray(away < 120)


def edges_of(picture: Pixels, place: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Return where left, right, upper and lower edge of the block at a place of the screen are.

    First those of the painted pixels, then those of the lines: the middle of each line.
    """
    x, y = (round(part) for part in place)
    marks = is_mark(picture)
    dark = (picture.max(axis=2) < DARK) & ~marks
    painted: list[float] = []
    lines: list[float] = []
    for darkness, mark, middle in (
        (dark[y], marks[y], x),
        (dark[:, x], marks[:, x], y),
    ):
        inside = np.flatnonzero(darkness)
        painted += [float(inside.min()), float(inside.max() + 1)]
        drawn = np.flatnonzero(mark)
        lines += [float(side.mean() + 0.5) for side in (drawn[drawn < middle], drawn[drawn > middle])]
    return painted, lines


@pytest.mark.parametrize("zoom", [0.25, 1.0, 1.5])
def test_outlines_lie_on_their_pixels(browser: Browser, site: StageSite, zoom: float) -> None:
    """Painted edges and drawn lines agree to a pixel of the screen, near and far from the origin."""
    with stage_page(browser, site, "slide=painted&findings=million") as stage:
        stage.until_open()
        stage.page.evaluate(
            "stage.setStyle({...stage.style, shown: [false, true], threshold: 1, opacity: 1,"
            " colors: ['#00ff00', '#ff00ff']})"
        )
        for corner in CORNERS:
            centre = np.array(corner) + BLOCK.mean(axis=0)
            stage.show(*(centre + (7.3, 5.1)), zoom)
            stage.until_drawn()
            picture = stage.until_still()
            middle = np.array(picture.shape[1::-1]) / 2
            place = middle - np.array((7.3, 5.1)) * zoom
            painted, lines = edges_of(picture, (place[0], place[1]))
            assert np.abs(np.array(painted) - lines).max() <= 1 + zoom / 2
            half = BLOCK.max(axis=0) / 2 * zoom
            expected = [place[0] - half[0], place[0] + half[0], place[1] - half[1], place[1] + half[1]]
            assert np.abs(np.array(lines) - expected).max() <= 1


def test_a_million_are_counted_and_none_is_left_out(browser: Browser, site: StageSite) -> None:
    """The whole slide at once counts all of them, and asks for a few coarse tiles alone."""
    with stage_page(browser, site, "slide=painted&findings=million") as stage:
        stage.until_drawn()
        total = sum(found["count"] for found in stage_document(stage))
        assert total > 0.99 * COUNT
        seen = stage.until(lambda: stage.state("inView"), "counts in view")
        assert sum(seen["counts"]) == total
        assert seen["exact"] is False
        asked = {path for path in site.asked if path.startswith("/results/million")}
        assert len(asked) < 100
        words = stage.until(
            lambda: "In view" in stage.words('.viewer-hidden[aria-live="polite"]'), "the counts"
        )
        assert words


def stage_document(stage: StagePage) -> list[dict[str, int]]:
    """The classes of the result that is shown."""
    classes: list[dict[str, int]] = stage.page.evaluate(
        "fetch('/results/million/findings.json').then(a => a.json()).then(d => d.classes)"
    )
    return classes


def test_a_class_that_is_off_leaves_the_picture(browser: Browser, site: StageSite) -> None:
    """Toggled by its checkbox, its colour is gone; toggled back, the picture is the same again."""
    with stage_page(browser, site, "slide=painted&findings=million&view=8000,4000,0.5") as stage:
        stage.until_drawn()
        before = stage.until_still()
        boxes = stage.page.get_by_role("checkbox")
        for name in ("negative", "positive"):
            boxes.filter(has=stage.page.locator("visible=true")).nth(0 if name == "negative" else 1)
            stage.page.get_by_label(name).first.uncheck()
        stage.until(lambda: plain(stage.picture()), "a slide without findings")
        for name in ("negative", "positive"):
            stage.page.get_by_label(name).first.check()
        stage.until(lambda: np.array_equal(stage.picture(), before), "the first picture again")


def plain(picture: Pixels) -> bool:
    """Whether the white slide shows no colour."""
    spread = picture.max(axis=2).astype(np.int64) - picture.min(axis=2)
    return bool(spread[40:-60].max() < 12)
