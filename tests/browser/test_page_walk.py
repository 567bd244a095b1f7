"""A whole walk without a pointer: from the skip link to a file with all that was found."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from demo.slide import tissue_roi
from tests.support.browser import WatchedPage
from tests.support.page_service import HEIGHT, SAMPLE, WIDTH, PageService

Watch = Callable[..., WatchedPage]
SLOW_MS = 120_000
EDGE_PX = 640
MOST_TABS = 80
_FOCUSED = """
() => {
  const one = document.activeElement;
  return (one.getAttribute('aria-label') ?? one.labels?.[0]?.innerText ?? one.innerText).trim();
}
"""


def tab_to(page: Page, name: str) -> None:
    """Press Tab until an element whose name begins so has the focus."""
    passed = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        passed.append(page.evaluate(_FOCUSED))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"Tab never comes to {name!r}, but to {passed}")


def replace_by(page: Page, text: str) -> None:
    """Type over what is in the field with the focus."""
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def test_a_slide_becomes_a_downloaded_file_by_keyboard_alone(
    served: PageService, watch: Watch
) -> None:
    """Slide, region, order, findings and download; the file has as many features as are shown."""
    page = watch(served).open()
    page.keyboard.press("Tab")
    assert page.evaluate(_FOCUSED) == "Skip to content"
    page.keyboard.press("Enter")
    tab_to(page, "Server folder")
    page.keyboard.press("Enter")
    first = page.get_by_role("dialog").locator(".entry:not(:disabled)").first
    expect(first).to_be_focused()
    while not page.evaluate(_FOCUSED).startswith(SAMPLE):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_label("Algorithm")).to_have_value("ki67")
    tab_to(page, "Rectangle")
    page.keyboard.press("Space")
    roi = tissue_roi(served.slides / SAMPLE, EDGE_PX)
    for side in ("x", "y", "width", "height"):
        tab_to(page, side)
        replace_by(page, str(roi[side]))
    expect(page.get_by_text(re.compile(r"\b1 tile$"))).to_be_visible(timeout=SLOW_MS)
    tab_to(page, "Order")
    page.keyboard.press("Enter")
    expect(page.get_by_role("progressbar", name="Progress of the order")).to_be_visible()
    expect(page.get_by_role("heading", name="Progress delivered")).to_be_visible(timeout=SLOW_MS)
    expect(page.locator(".viewer-bottom-left")).to_have_text(re.compile(r"^\s*\d+ µm\s*$"))
    count = shown_count(page)
    assert count > 10
    tab_to(page, "Negative")
    page.keyboard.press("Space")
    expect(page.get_by_role("checkbox", name="Negative")).not_to_be_checked()
    tab_to(page, "GeoJSON")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    collection = json.loads(Path(download.value.path()).read_bytes())
    found = [
        one for one in collection["features"] if one["properties"]["objectType"] != "annotation"
    ]
    assert len(found) == count
    order = served.get(f"/v1/orders/{page.url.split('/')[-2]}")
    assert order["scans"][0]["roi"] == roi


def shown_count(page: Page) -> int:
    """Return the sum of what stands beside the classes."""
    classes = page.get_by_role("group", name="Classes").locator(".findings-count")
    expect(classes.first).to_be_visible()
    return sum(int(text.replace(",", "")) for text in classes.all_inner_texts())
