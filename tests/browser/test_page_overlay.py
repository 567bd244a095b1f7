"""Results whose findings cannot be drawn over the slide: the page shows their picture, and why."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.orders.result_files import FINDINGS_JSON, FINDINGS_PMTILES, OVERLAY
from tests.browser.conftest import HEIGHT, WIDTH
from tests.browser.test_page_accessibility import violations
from tests.support.browser import Site, WatchedPage
from tests.support.results import a_card, a_result, around, objects
from tests.support.slides import a_picture
from worker.geometry.frame import Area, Frame
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.stored_result import store_result
from worker.sources.path import find_slide

Watch = Callable[..., WatchedPage]
FRAME = Frame(WIDTH, HEIGHT, 0.25, 0.25, "slide")
PICTURE = re.compile("What was found, on a small picture of the slide")


def classified(site: Site, *, output: str = "objects", tiles: bool = True) -> tuple[str, Path]:
    """Return the address of a scan with a result on the page, and the folder of the result.

    `tiles` false: as a version made it that wrote no findings for viewers.
    """
    slide = site.slides / "Canary Smith.svs"
    source = {"type": "path", "path": str(slide)}
    body = {"algorithm": "ki67", "scans": [{"id": "1", "source": source}]}
    order_id = site.store.create(
        OrderRequest.model_validate(body, strict=False), queue="gpu"
    ).order_id
    card = a_card(output)
    found = objects([])
    if output != "report":
        places = np.random.default_rng(3).uniform((40, 40), (WIDTH - 40, HEIGHT - 40), (60, 2))
        found = objects([around(x, y) for x, y in places])
    area = Area(0, 0, WIDTH, HEIGHT)
    result = a_result(found, frame=FRAME, area=area, card=card, summary={"nuclei": len(found)})
    overlay = OverlayDrawing(a_picture(WIDTH, HEIGHT), result)
    key = f"results/{order_id}/0.2"
    fields = store_result(site.storage, key, result, overlay, lambda _done, _total: None).fields
    if not tiles:
        for name in (FINDINGS_JSON, FINDINGS_PMTILES):
            (site.storage.folder / key / name).unlink()
        fields["files"] = []
    staged = {"slide": find_slide(str(slide), [site.slides]).as_dict()}
    finish(site.store, f"{order_id}.0", "fetch", "staged", staged)
    finish(site.store, f"{order_id}.0", "classify", "classified", fields)
    return f"#/orders/{order_id}/1", site.storage.folder / key


def finish(store: OrderStore, work: str, stage: Any, to: str, fields: dict[str, Any]) -> None:
    """Do a stage of a scan as a worker does."""
    claim = store.claim(work, stage, "w1")
    assert claim
    store.finish(claim, to, fields)


def is_whole(page: Page) -> bool:
    """Return whether the picture has come and is a picture."""
    return bool(page.get_by_role("img", name=PICTURE).evaluate("(one) => one.naturalWidth > 600"))


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_result_without_tiles_shows_its_picture(site: Site, watch: Watch, scheme: str) -> None:
    """With the reason in words; the slide is there, and a key opens the picture in full."""
    address, _folder = classified(site, tiles=False)
    page = watch(site, bypass_csp=True, color_scheme=scheme).open(address)
    expect(page.get_by_role("img", name=PICTURE)).to_be_visible()
    assert is_whole(page)
    expect(page.get_by_text("The result comes from an older version")).to_be_visible()
    expect(page.locator('.viewer[data-open="true"]')).to_be_visible(timeout=60_000)
    assert violations(page) == []
    link = page.get_by_role("link", name="Open in full")
    link.focus()
    with page.context.expect_page() as opened:
        page.keyboard.press("Enter")
    opened.value.wait_for_load_state()
    assert opened.value.url.endswith(f"/scans/1/{OVERLAY}")
    assert opened.value.evaluate("document.contentType") == "image/png"


def test_the_picture_stays_where_the_slide_is_gone(site: Site, watch: Watch) -> None:
    """A fetched slide leaves the cache, and what was found in it is still seen."""
    address, _folder = classified(site)
    watched = watch(site)
    watched.expected.add(410)
    gone = {"code": "slide_gone", "title": "gone", "detail": "the slide is no longer held"}
    watched.page.route("**/info.json", lambda route: route.fulfill(status=410, json=gone))
    page = watched.open(address)
    expect(page.get_by_text("slide_gone")).to_be_visible()
    expect(page.get_by_text("The slide cannot be shown")).to_be_visible()
    expect(page.get_by_role("img", name=PICTURE)).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator('.viewer[data-open="true"]')).to_be_visible(timeout=60_000)
    expect(page.get_by_role("img", name=PICTURE)).to_have_count(0)


def test_tiles_that_cannot_be_read_leave_the_picture(site: Site, watch: Watch) -> None:
    """The slide says what is wrong with them, and the panel shows what was found."""
    address, folder = classified(site)
    (folder / FINDINGS_PMTILES).write_bytes(b"{}")
    watched = watch(site)
    page = watched.open(address)
    expect(page.get_by_text("Findings could not be read")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("The findings cannot be drawn over the slide.")).to_be_visible()
    expect(page.get_by_role("img", name=PICTURE)).to_be_visible()
    told = [fault for fault in watched.faults if "/findings/" in fault or "Tile %s" in fault]
    assert watched.faults == told
    watched.faults.clear()


def test_a_report_without_findings_shows_its_picture(site: Site, watch: Watch) -> None:
    """There is nothing to tick, to fade or to step through: only what it says, and its picture."""
    address, _folder = classified(site, output="report")
    page = watch(site).open(address)
    expect(page.get_by_role("img", name=PICTURE)).to_be_visible()
    expect(page.get_by_text("The result has nothing to draw over the slide.")).to_be_visible()
    expect(page.get_by_role("slider", name="Opacity")).to_have_count(0)


@pytest.mark.parametrize("picture", [None, b"no picture"], ids=["absent", "broken"])
def test_a_result_with_nothing_to_draw_says_so(
    site: Site, watch: Watch, picture: bytes | None
) -> None:
    """Neither findings nor a picture: words, and no broken image."""
    address, folder = classified(site, tiles=False)
    (folder / OVERLAY).unlink()
    if picture is not None:
        (folder / OVERLAY).write_bytes(picture)
    watched = watch(site)
    watched.expected.add(404)
    page = watched.open(address)
    expect(page.get_by_text("There is no picture of it either")).to_be_visible()
    expect(page.get_by_role("img", name=PICTURE)).to_have_count(0)
