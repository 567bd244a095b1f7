"""A slide on the stage: its region drawn by mouse, finger and keyboard; what is said of trouble."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from benchmarks.page.painted_slide import white, write_slide
from benchmarks.page.stage_server import StageSite, stage_site
from tests.support.browser_stage import StagePage, stage_page

pytestmark = pytest.mark.timeout(400)

WIDTH = 4096
HEIGHT = 3072
ONE_TO_TWO = "view=2048,1536,0.5"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageSite]:
    folder = tmp_path_factory.mktemp("slide")
    slide = write_slide(folder / "small.tiff", WIDTH, HEIGHT, white())
    with stage_site(folder / "data", {"small": slide}, {}) as running:
        yield running


def region_once(stage: StagePage, words: str = "a region") -> dict[str, object]:
    region: dict[str, object] = stage.until(lambda: stage.state("region"), words)
    return region


def test_a_rectangle_is_drawn_resized_and_moved(chromium: Browser, site: StageSite) -> None:
    """By mouse in whole pixels of the slide; by arrows one pixel, a hundred with Shift."""
    with stage_page(chromium, site, f"slide=small&mode=rectangle&{ONE_TO_TWO}") as stage:
        stage.until_open()
        # The stage is 1000 x 760: its corner is level-0 (1048, 776).
        stage.drag((100, 100), (400, 300))
        drawn = region_once(stage)
        assert drawn == {"x": 1248, "y": 976, "width": 600, "height": 400}
        stage.drag((400, 300), (450, 310))
        stage.until(lambda: stage.state("region.width") == 700, "a wider rectangle")
        assert stage.state("region.height") == 420
        stage.drag((200, 200), (210, 220))
        stage.until(lambda: stage.state("region.x") == 1268, "a moved rectangle")
        assert stage.state("region.y") == 1016
        assert "700 × 420 px · 350 × 210 µm" in stage.words(".viewer-region-label")
        handles = stage.page.locator(".viewer-region-handle")
        assert handles.count() == 8
        handles.first.focus()
        stage.page.keyboard.press("ArrowLeft")
        stage.page.keyboard.press("Shift+ArrowDown")
        stage.until(lambda: stage.state("region.y") == 1116, "a moved corner")
        assert stage.state("region") == {"x": 1267, "y": 1116, "width": 701, "height": 320}


def test_a_rectangle_ends_at_the_edges_of_the_slide(chromium: Browser, site: StageSite) -> None:
    """What is drawn beyond the slide is cut, on all sides."""
    query = "slide=small&mode=rectangle&view=2048,1536,0.2"
    with stage_page(chromium, site, query) as stage:
        stage.until_open()
        stage.drag((5, 5), (990, 750))
        assert region_once(stage) == {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}


def test_a_rectangle_by_keys_alone(chromium: Browser, site: StageSite) -> None:
    """R and Enter make one in the middle of the view; Escape ends drawing and keeps it."""
    with stage_page(chromium, site, f"slide=small&{ONE_TO_TWO}") as stage:
        stage.until_open()
        stage.key("r")
        stage.page.locator('.viewer[data-mode="rectangle"]').wait_for(timeout=60_000)
        stage.key("Enter")
        made = region_once(stage)
        assert made == {"x": 1548, "y": 1156, "width": 1000, "height": 760}
        stage.key("Escape")
        stage.until(lambda: stage.state("mode") == "pan", "panning again")
        assert stage.state("region") == made


def test_a_polygon_is_drawn_and_mended(chromium: Browser, site: StageSite) -> None:
    """Corners by clicks, closed by a double click; added, moved and deleted; Escape gives up."""
    with stage_page(chromium, site, f"slide=small&mode=polygon&{ONE_TO_TWO}") as stage:
        stage.until_open()
        mouse = stage.page.mouse
        corners = stage.page.locator(".viewer-region-handle")
        for number, place in enumerate(((100, 100), (500, 100))):
            mouse.click(*place)
            stage.until(lambda number=number: corners.count() == number + 1, "a corner")
        stage.page.wait_for_timeout(600)  # two clicks at once would be a double click
        mouse.dblclick(500, 400)
        drawn = region_once(stage)
        assert drawn == {"points": [[1248, 976], [2048, 976], [2048, 1576]]}
        stage.page.wait_for_timeout(600)
        mouse.click(300, 100)
        stage.until(lambda: len(stage.state("region.points")) == 4, "a corner on the edge")
        stage.drag((300, 100), (300, 50))
        stage.until(lambda: stage.state("region.points")[1] == [1648, 876], "a moved corner")
        corners.nth(1).focus()
        stage.page.keyboard.press("Delete")
        stage.until(lambda: stage.state("region") == drawn, "the first polygon again")
        mouse.click(900, 700)
        stage.until(lambda: corners.count() == 1, "another polygon begun")
        stage.key("Escape")
        stage.until(lambda: corners.count() == 3, "the polygon that there was")
        assert stage.state("region") == drawn


def test_a_finger_draws_a_rectangle(chromium: Browser, site: StageSite) -> None:
    """Touch moves the same handles as the mouse."""
    query = f"slide=small&mode=rectangle&{ONE_TO_TWO}"
    with stage_page(chromium, site, query, has_touch=True) as stage:
        stage.until_open()
        devtools = stage.page.context.new_cdp_session(stage.page)

        def touch(kind: str, *points: tuple[int, int]) -> None:
            touches = [{"x": x, "y": y} for x, y in points]
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

        touch("touchStart", (100, 100))
        for step in range(1, 11):
            touch("touchMove", (100 + 30 * step, 100 + 20 * step))
        touch("touchEnd")
        drawn = region_once(stage)
        assert drawn == {"x": 1248, "y": 976, "width": 600, "height": 400}


def test_keys_move_and_zoom_the_slide(chromium: Browser, site: StageSite) -> None:
    """Arrows pan, plus zooms in, 0 shows all; the corners say scale and magnification."""
    with stage_page(chromium, site, f"slide=small&{ONE_TO_TWO}") as stage:
        stage.until_open()
        assert stage.words(".viewer-top-left").split() == ["10×"]
        assert stage.words(".viewer-bottom-left").strip() == "100 µm"
        stage.key("ArrowRight")
        stage.until(lambda: (stage.state("view") or {"x": 0})["x"] > 2100, "a view further right")
        stage.key("+")
        stage.until(lambda: stage.state("view.z") > 0.7, "a closer view")
        stage.key("0")
        stage.until(lambda: stage.state("view.z") < 0.3, "the whole slide")


def test_trouble_with_a_slide_is_said_in_words(chromium: Browser, site: StageSite) -> None:
    """A viewer that is down is asked again, and what it showed before stays until it answers."""
    faults = ("503", "failed to load")
    with stage_page(chromium, site, "slide=small", expected_faults=faults) as stage:
        stage.until_open()
        site.failing.add("small")
        stage.show(2048, 1536, 2)
        alert = stage.page.get_by_role("alert")
        stage.until(
            lambda: alert.count() and "does not answer; trying again" in alert.inner_text(),
            "what is wrong",
        )
        site.failing.clear()
        stage.until(lambda: alert.count() == 0, "no trouble")
