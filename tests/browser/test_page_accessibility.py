"""Every part of the page for people who see little, or use a keyboard alone (WCAG 2.2 AA)."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import HEIGHT, KEY, WIDTH
from tests.support.browser import Site, WatchedPage
from tests.support.findings_results import classified_scan
from tests.support.orders import a_request

Watch = Callable[..., WatchedPage]
PARTS = {
    "order": "#/order",
    "jobs": "#/jobs",
    "algorithms": "#/algorithms",
    "system": "#/system",
    "nothing": "#/nowhere",
}
SMALLEST_TARGET_PX = 24
TARGETS = "button, select, summary, input:not([type=hidden]), nav a"
_SMALL_TARGETS = f"""
() => [...document.querySelectorAll('{TARGETS}')].filter((one) => {{
  const {{ width, height }} = (one.closest('label') ?? one).getBoundingClientRect();
  return width > 1 && height > 1 && Math.min(width, height) < {SMALLEST_TARGET_PX} - 0.5;
}}).map((one) => one.outerHTML.slice(0, 120))
"""
_FOCUSED = """
() => {
  const one = document.activeElement;
  return one.getAttribute('aria-label') ?? one.labels?.[0]?.innerText ?? one.innerText;
}
"""


@pytest.fixture
def order(site: Site) -> Iterator[str]:
    """The address of an order that waits."""
    created = site.store.create(a_request(labels={"case": "S26-1"}), queue="gpu")
    yield f"#/orders/{created.order_id}/0"
    site.store.cancel(created.order_id, "tests")


def violations(page: Page) -> list[str]:
    """Return what axe finds: the rule, and the first element that breaks it."""
    # axe is put into the page as a script, which the policy of the page refuses from elsewhere.
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("address", PARTS.values(), ids=PARTS)
def test_axe_finds_nothing(site: Site, watch: Watch, order: str, address: str, scheme: str) -> None:
    """Names, contrasts, landmarks and headings of each part, in both schemes."""
    page = watch(site, bypass_csp=True, color_scheme=scheme).open(address)
    assert order
    page.wait_for_load_state("networkidle")
    assert violations(page) == []
    assert page.evaluate(_SMALL_TARGETS) == []


def test_axe_finds_nothing_on_orders(site: Site, watch: Watch, order: str) -> None:
    """An order that waits, and one with findings, also where the window is narrow."""
    path, _folder = classified_scan(site.store, site.storage, count=50)
    watched = watch(site, bypass_csp=True)
    watched.expected.add(410)
    for address in (order, "#" + path.removeprefix("/v1").replace("/scans", "")):
        page = watched.open(address)
        expect(page.get_by_role("heading", name="Progress")).to_be_visible()
        page.wait_for_timeout(300)
        assert violations(page) == []
    page.set_viewport_size({"width": 1000, "height": 700})
    page.get_by_role("button", name="Findings and progress").click()
    expect(page.get_by_role("heading", name="Progress")).to_be_visible()
    assert violations(page) == []


def test_axe_finds_nothing_on_sheets(site: Site, watch: Watch, keyed_site: Site) -> None:
    """The login, the folders of the server, and a form with a slide and a region."""
    page = watch(keyed_site, bypass_csp=True)
    sheet = page.open()
    expect(sheet.get_by_label("API key")).to_be_visible()
    assert violations(sheet) == []
    sheet.get_by_label("API key").fill(KEY)
    sheet.get_by_role("button", name="Log in").click()
    sheet.get_by_role("button", name="Server folder").click()
    expect(sheet.get_by_role("button", name="Canary Smith.svs")).to_be_visible()
    assert violations(sheet) == []
    sheet.get_by_role("button", name="Canary Smith.svs").click()
    expect(sheet.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=60_000)
    sheet.get_by_role("button", name="Rectangle").click()
    assert violations(sheet) == []


def test_an_order_is_placed_by_keyboard_alone(site: Site, watch: Watch) -> None:
    """The skip link comes first; a slide, a region and the order need no pointer."""
    page = watch(site).open()
    page.keyboard.press("Tab")
    assert page.evaluate(_FOCUSED) == "Skip to content"
    page.keyboard.press("Enter")
    press_until(page, "Server folder")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="ward 7")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=60_000)
    press_until(page, "Rectangle")
    page.keyboard.press("Enter")
    press_until(page, "x")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.get_by_label("x", exact=True)).to_have_value(str(round(WIDTH * 3 / 8) + 100))
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("progressbar", name="Progress of the order")).to_be_visible()


def press_until(page: Page, name: str) -> None:
    """Press Tab until the element of this name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if (page.evaluate(_FOCUSED) or "").strip() == name:
            return
    raise AssertionError(f"Tab never comes to {name!r}")


def test_motion_is_reduced_where_that_is_asked_for(site: Site, chromium: Browser) -> None:
    """No transition lasts for people whom motion makes ill."""
    context = chromium.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    lasting = page.evaluate(
        "[...document.querySelectorAll('*')].filter("
        "(one) => getComputedStyle(one).transitionDuration !== '0s').length"
    )
    context.close()
    assert lasting == 0


def test_everything_is_reached_in_a_narrow_window(site: Site, watch: Watch) -> None:
    """As wide as 1280 px at a zoom of 400 %: nothing is cut off, nothing scrolls sideways."""
    page = watch(site).open()
    page.set_viewport_size({"width": 320, "height": 640})
    for name in ("Order", "Jobs and logs", "Algorithms", "System"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0, name
