"""Findings over a slide: shown by class and score, named under the pointer, walked by score."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from benchmarks.page.many_findings import write_findings
from benchmarks.page.painted_slide import white, write_slide
from benchmarks.page.stage_server import StageSite, stage_site
from tests.support.browser_stage import StagePage, stage_page
from worker.geometry.frame import Pixels

pytestmark = pytest.mark.timeout(400)

EDGE = 4096
PITCH = 32
COUNT = 9_000
SQUARE = np.array([(2000, 1500), (2200, 1500), (2200, 1700), (2000, 1700)], np.float64)
"""Finding 0: positive, with a score of 1."""
QUERY = "slide=small&findings=some"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("findings")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[StageSite]:
    slide = write_slide(folder / "small.tiff", EDGE, EDGE, white(), [SQUARE])
    (folder / "result").mkdir()
    found = write_findings(folder / "result", EDGE, EDGE, COUNT, PITCH, [SQUARE])
    (folder / "sparse").mkdir()
    few = write_findings(folder / "sparse", EDGE, EDGE, 20, 8 * PITCH, [SQUARE])
    results = {"some": found, "few": few}
    with stage_site(folder / "data", {"small": slide}, results) as running:
        yield running


@pytest.fixture
def document(site: StageSite) -> Any:
    return json.loads((site.results["some"] / "findings.json").read_bytes())


def has_color(picture: Pixels, color: tuple[int, int, int]) -> bool:
    """Whether more than a few pixels have about this colour."""
    away = np.abs(picture.astype(np.int64) - np.array(color)).max(axis=2)
    return int((away < 60).sum()) > 20


BLUE = (76, 152, 250)
RED = (255, 95, 72)


def test_classes_are_toggled_by_checkbox_and_by_number(chromium: Browser, site: StageSite) -> None:
    """What is off is not drawn, not counted and not walked to; 1 and 2 are the classes' keys."""
    with stage_page(chromium, site, f"{QUERY}&view=2048,1024,1") as stage:
        stage.until_drawn()
        stage.until(lambda: has_color(stage.picture(), BLUE), "negative nuclei")
        assert has_color(stage.picture(), RED)
        seen = stage.until(lambda: stage.state("inView"), "counts in view")
        assert seen["exact"] is True
        assert min(seen["counts"]) > 0
        stage.key("2")
        stage.until(lambda: not has_color(stage.picture(), RED), "no positive nuclei")
        assert has_color(stage.picture(), BLUE)
        assert not stage.page.get_by_role("checkbox", name="positive").is_checked()
        after = stage.until(
            lambda: stage.state("inView.counts")[1] == 0 and stage.state("inView.counts"),
            "no positive nuclei counted",
        )
        assert after == [seen["counts"][0], 0]
        stage.page.get_by_role("checkbox", name="positive").check()
        stage.until(lambda: has_color(stage.picture(), RED), "positive nuclei again")


def test_another_style_never_blinks(chromium: Browser, site: StageSite) -> None:
    """While the outlines are drawn anew, every frame shows the old ones or the new ones."""
    reading = ("willReadFrequently",)  # by this test
    query = f"{QUERY}&view=2048,1024,1"
    with stage_page(chromium, site, query, expected_faults=reading) as stage:
        stage.until_drawn()
        before = stage.until_still()
        left = stage.page.evaluate(
            """async () => {
              const canvas = document.querySelector(".openseadragon-canvas canvas");
              const context = canvas.getContext("2d");
              const colored = () => {
                const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
                let count = 0;
                for (let at = 0; at < data.length; at += 4) {
                  count += Math.abs(data[at] - data[at + 2]) > 40 ? 1 : 0;
                }
                return count;
              };
              const counts = [colored()];
              stage.setStyle({...stage.style, fill: true});
              const end = performance.now() + 3000;
              while (performance.now() < end) {
                await new Promise((resolve) => requestAnimationFrame(resolve));
                counts.push(colored());
              }
              return Math.min(...counts) / counts[0];
            }"""
        )
        assert left > 0.95
        filled = stage.until_still()
        assert not np.array_equal(before, filled)


@pytest.mark.parametrize(("findings", "shown"), [("some", "density"), ("few", "outlines")])
def test_few_findings_keep_their_outlines_far_out(
    chromium: Browser, site: StageSite, findings: str, shown: str
) -> None:
    """Thousands become a density, and their number in view an estimate; a few stay what they
    are."""
    with stage_page(
        chromium, site, f"slide=small&findings={findings}&view=2048,2048,0.12"
    ) as stage:
        stage.until_drawn()
        seen = stage.until(lambda: stage.state("inView"), "counts in view")
        assert seen["exact"] is (shown == "outlines")
        assert shown in stage.words(".viewer-corner")


def test_score_threshold_hides_what_is_below(
    chromium: Browser, site: StageSite, document: Any
) -> None:
    """At 1 the square alone is left; its histogram's last bin counts no less."""
    with stage_page(chromium, site, f"{QUERY}&view=2100,1600,0.5") as stage:
        stage.until_drawn()
        slider = stage.page.get_by_role("slider", name="Score at least")
        slider.fill("1")
        stage.until(lambda: sum(stage.state("inView?.counts") or [9]) == 1, "the square alone")
        assert stage.state("style.threshold") == 1
        assert document["classes"][1]["histogram"][31] >= 1
        names = ("Opacity", "Score at least")
        for name in names:
            assert stage.page.get_by_role("slider", name=name).count() == 1


def test_hover_names_a_finding_and_a_click_selects_it(chromium: Browser, site: StageSite) -> None:
    """Number, class and score under the pointer; a click keeps them, Escape lets them go."""
    with stage_page(chromium, site, f"{QUERY}&view=2100,1600,1") as stage:
        stage.until_drawn()
        box = stage.page.locator(".openseadragon-canvas").first.bounding_box()
        assert box is not None
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        stage.page.mouse.move(*middle)
        stage.page.mouse.move(middle[0] + 1, middle[1])
        hover = stage.page.locator(".viewer-hover")
        hover.wait_for(timeout=60_000)
        assert hover.inner_text().strip() == "#0 · positive · score 1.00"
        place = stage.words(".viewer-bottom-right")
        assert place.split() == ["x", "2101", "y", "1600"]
        stage.page.mouse.click(*middle)
        selected = stage.page.locator(".viewer-selected")
        selected.wait_for(timeout=60_000)
        assert selected.inner_text().startswith("#0 · positive")
        stage.page.keyboard.press("Escape")
        stage.until(lambda: selected.count() == 0, "nothing selected")


def test_next_walks_all_findings_by_score(chromium: Browser, site: StageSite) -> None:
    """N begins with the highest score of the whole slide, B goes back, round the end."""
    with stage_page(chromium, site, QUERY) as stage:
        stage.until_drawn()
        chip = stage.page.locator(".viewer-selected")

        def reached(words: str) -> str:
            stage.until(lambda: chip.count() and words in chip.inner_text(), words)
            return chip.inner_text()

        total = stage.page.evaluate(
            "fetch('/results/some/findings.json').then(a => a.json())"
            ".then(d => d.classes.reduce((sum, one) => sum + one.count, 0))"
        )
        stage.key("n")
        assert f"1 of {total:,}" in reached("1 of ")
        assert "score 1.00" in chip.inner_text()
        stage.until(lambda: (stage.state("view") or {"z": 0})["z"] >= 1, "a view close by")
        stage.key("n")
        reached("2 of ")
        stage.key("b", "b")
        assert f"{total:,} of {total:,}" in reached(f"{total:,} of ")


def test_far_out_a_density_stands_for_the_outlines(chromium: Browser, site: StageSite) -> None:
    """D shows the density near by, too; under the pointer it says how many there are."""
    with stage_page(chromium, site, f"{QUERY}&view=1000,1000,0.5") as stage:
        stage.until_drawn()
        assert stage.words(".viewer-top-left").split()[-1] == "outlines"
        stage.key("d")
        stage.until(
            lambda: stage.words(".viewer-top-left").split()[-1] == "density", "the word density"
        )
        assert stage.page.get_by_role("checkbox", name="Density").is_checked()
        stage.page.mouse.move(400, 380)
        stage.page.mouse.move(401, 380)
        hover = stage.page.locator(".viewer-hover")
        stage.until(lambda: hover.count() and "negative" in hover.inner_text(), "counts of a cell")


def test_findings_that_fail_are_said_and_asked_for_again(
    chromium: Browser, site: StageSite
) -> None:
    """The slide stays; the words go once the findings answer."""
    site.failing.add("some")
    faults = ("503", "failed to load", "Tile %s")
    with stage_page(chromium, site, QUERY, expected_faults=faults) as stage:
        alert = stage.page.get_by_role("alert")
        stage.until(lambda: alert.count() and "Findings" in alert.inner_text(), "what is wrong")
        site.failing.clear()
        stage.until(lambda: alert.count() == 0, "no trouble")
        stage.until(lambda: has_hue(stage.picture()), "the density")


def has_hue(picture: Pixels) -> bool:
    """Whether anything on the white slide is coloured."""
    spread = picture.max(axis=2).astype(np.int64) - picture.min(axis=2)
    return int((spread > 40).sum()) > 100


def test_colours_are_kept_in_this_browser(chromium: Browser, site: StageSite) -> None:
    """Another colour of a class is there after a reload, and other classes keep theirs."""
    with stage_page(chromium, site, QUERY) as stage:
        stage.until_open()
        stage.page.get_by_label("Colour of positive").fill("#00ff88")
        stage.until(lambda: stage.state("style.colors")[1] == "#00ff88", "the colour")
        stage.page.reload()
        stage.until_open()
        assert stage.state("style.colors") == ["#4c98fa", "#00ff88"]


def shown_page(stage: StagePage) -> str:
    """The text of the panel."""
    return stage.page.locator("aside").inner_text()


def test_the_panel_says_what_was_found(chromium: Browser, site: StageSite, document: Any) -> None:
    """Headline, summary, a count for each class, and what is in view."""
    with stage_page(chromium, site, QUERY) as stage:
        stage.until_drawn()
        stage.until(lambda: "in view" in shown_page(stage), "counts in view")
        text = shown_page(stage)
        assert document["headline"] in text
        for entry in document["classes"]:
            assert f"{entry['count']:,}" in text
