"""Seven tabs of one browser, which opens six connections to a server and no more."""

import secrets
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.support.browser import WatchedPage
from tests.support.page_service import SAMPLE, PageService

TABS: Final = 7
SLOW_MS: Final = 90_000
# A browser that is driven by a test shows all of its tabs at once, so the page is told otherwise.
_HIDE_AT_WILL = """
(() => {
  let isHidden = false;
  Object.defineProperty(document, 'hidden', { get: () => isHidden });
  Object.defineProperty(document, 'visibilityState', { get: () => (isHidden ? 'hidden' : 'visible') });
  self.setHidden = (value) => {
    isHidden = value;
    document.dispatchEvent(new Event('visibilitychange'));
  };
})();
"""


class Tab:
    """A tab that can be hidden. `streams`: the streams of events that are open in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.streams: set[Request] = set()
        page = context.new_page()
        page.add_init_script(_HIDE_AT_WILL)
        page.on("request", self._opened)
        page.on("requestfailed", self._ended)
        page.on("requestfinished", self._ended)
        self.watched = WatchedPage(page, url)

    @property
    def page(self) -> Page:
        """The page in the tab."""
        return self.watched.page

    def show(self) -> None:
        """Bring the tab to the front."""
        self.page.bring_to_front()
        self.page.evaluate("setHidden(false)")

    def hide(self) -> None:
        """Put another tab before it."""
        self.page.evaluate("setHidden(true)")

    def _opened(self, request: Request) -> None:
        if "/v1/events" in request.url:
            self.streams.add(request)

    def _ended(self, request: Request) -> None:
        self.streams.discard(request)


@pytest.fixture
def tabs(chromium: Browser, served: PageService) -> Iterator[list[Tab]]:
    """As many tabs as wanted, of one browser profile; none has loaded the page yet."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    found = [Tab(context, served.url) for _ in range(TABS)]
    yield found
    context.close()
    assert [tab.watched.faults for tab in found] == [[]] * TABS


def placed(served: PageService) -> str:
    """Place an order as another program does, and return its case."""
    case = f"S26-{secrets.token_hex(4)}"
    scan = {"id": "1", "source": {"type": "path", "path": str(served.slides / SAMPLE)}}
    served.order(algorithm="grid", scans=[scan], labels={"case": case})
    return case


def test_seven_tabs_are_live_one_after_another(served: PageService, tabs: list[Tab]) -> None:
    """Only the tab that is seen holds a stream; each is current as soon as it is seen again."""
    before: Tab | None = None
    for tab in tabs:
        if before is not None:
            before.hide()
        tab.watched.open("#/jobs")
        expect(tab.page.get_by_text("● live")).to_be_visible(timeout=SLOW_MS)
        before = tab
    assert [len(tab.streams) for tab in tabs] == [0] * (TABS - 1) + [1]
    case = placed(served)
    last = tabs[-1]
    row = last.page.get_by_role("row").filter(has_text=case)
    expect(row.get_by_text("delivered").first).to_be_visible(timeout=SLOW_MS)
    for tab in tabs[:-1]:
        # Nothing is drawn where nobody looks: it did not follow.
        expect(tab.page.get_by_role("row").filter(has_text=case)).to_have_count(0)
    last.hide()
    for tab in tabs:
        tab.show()
        row = tab.page.get_by_role("row").filter(has_text=case)
        expect(row.get_by_text("delivered").first).to_be_visible()
        expect(tab.page.get_by_text("● live")).to_be_visible()
        newer = placed(served)
        row = tab.page.get_by_role("row").filter(has_text=newer)
        expect(row.get_by_text("delivered").first).to_be_visible(timeout=SLOW_MS)
        tab.page.get_by_role("link", name="System").click()
        expect(tab.page.get_by_role("heading", name="Queues")).to_be_visible()
        tab.hide()
    assert sum(len(tab.streams) for tab in tabs) == 0
