"""What other programs do, on the page: it follows by itself, also over a cut."""

import re
import secrets
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from tests.support.browser import WatchedPage
from tests.support.page_service import LETTER, SAMPLE, PageService
from tests.support.slide_server import File, SlideServer

Watch = Callable[..., WatchedPage]
SLOW_MS = 90_000
LIVE = "● live"
CUT = "the stream was cut"


class HeldSlide:
    """A slide at a URL whose server sends one half, and the other once it is released."""

    def __init__(self, server: SlideServer, content: bytes) -> None:
        self._released = Event()
        self.url = server.url("/held.svs")
        self._file = File(content, until=self._released.is_set, ranges=False)
        server.answers["/held.svs"] = self._file

    def wait_half_sent(self) -> None:
        """Block until a courier has one half."""
        assert self._file.half_sent.wait(SLOW_MS / 1000)

    def release(self) -> None:
        """Send the rest."""
        self._released.set()


@pytest.fixture
def held(served: PageService) -> Iterator[HeldSlide]:
    """A slide that is fetched as long as the test likes."""
    with SlideServer() as server:
        slide = HeldSlide(server, (served.slides / SAMPLE).read_bytes())
        yield slide
        slide.release()


def placed(served: PageService, source: dict[str, str]) -> tuple[str, str]:
    """Place an order as another program does; return its id and its case, which is in its row."""
    case = f"S26-{secrets.token_hex(4)}"
    scan = {"id": "1", "source": source}
    return served.order(algorithm="grid", scans=[scan], labels={"case": case}), case


def mark(page: Page) -> None:
    """Leave something in the document that a reload would take away."""
    page.evaluate("() => { self.isTheFirst = true; }")


def is_marked(page: Page) -> bool:
    """Return whether the document is still the one that was marked."""
    return bool(page.evaluate("self.isTheFirst === true"))


def row_of(page: Page, case: str) -> Locator:
    """Return the row of the order with this case."""
    return page.get_by_role("row").filter(has_text=case)


def test_an_order_of_another_program_is_followed(
    served: PageService, watch: Watch, held: HeldSlide
) -> None:
    """It appears, its progress and its log grow, and it ends, without a reload."""
    page = watch(served).open("#/jobs")
    expect(page.get_by_text(LIVE)).to_be_visible()
    mark(page)
    order_id, case = placed(served, {"type": "url", "url": held.url})
    row = row_of(page, case)
    expect(row.get_by_text("running")).to_be_visible(timeout=SLOW_MS)
    held.wait_half_sent()
    bar = row.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"[1-9]"), timeout=SLOW_MS)
    lines = log_of(page, row)
    expect(lines).to_contain_text("fetch taken by")
    expect(lines).not_to_contain_text("classify taken by")
    held.release()
    expect(lines).to_contain_text("classify taken by", timeout=SLOW_MS)
    expect(row.get_by_text("delivered").first).to_be_visible(timeout=SLOW_MS)
    expect(lines).to_have_text(served.log_of(order_id), use_inner_text=True)
    assert is_marked(page)


def log_of(page: Page, row: Locator) -> Locator:
    """Open the log of an order over the list, and return its lines."""
    row.get_by_role("button", name="Log of").click()
    return page.get_by_role("dialog").get_by_label("Log", exact=True)


def test_lines_that_come_while_the_log_is_read_are_kept(
    served: PageService, watch: Watch, held: HeldSlide
) -> None:
    """The answer with the older lines comes last, and takes no newer line away."""
    page = watch(served).open("#/jobs")
    order_id, case = placed(served, {"type": "url", "url": held.url})
    held.wait_half_sent()
    answers: list[tuple[Route, APIResponse]] = []
    page.route("**/log", lambda route: answers.append((route, route.fetch())), times=1)
    lines = log_of(page, row_of(page, case))
    wait_on(page, lambda: bool(answers))
    held.release()
    expect(lines).to_contain_text("delivered", timeout=SLOW_MS)
    expect(lines).not_to_contain_text("fetch taken by")
    ((route, answer),) = answers
    route.fulfill(response=answer)
    expect(lines).to_contain_text("fetch taken by")
    expect(lines).to_have_text(served.log_of(order_id), use_inner_text=True)


def wait_on(page: Page, is_true: Callable[[], bool]) -> None:
    """Let the browser go on until the condition holds."""
    for _ in range(SLOW_MS // 50):
        if is_true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not become true")


def test_a_cut_is_said_and_nothing_is_missed(
    served: PageService, watch: Watch, held: HeldSlide
) -> None:
    """The API is killed and started again: the page says both, and shows what came after."""
    watched = watch(served)
    page = watched.open("#/jobs")
    expect(page.get_by_text(LIVE)).to_be_visible()
    mark(page)
    order_id, case = placed(served, {"type": "url", "url": held.url})
    row = row_of(page, case)
    expect(row.get_by_text("running")).to_be_visible(timeout=SLOW_MS)
    held.wait_half_sent()
    lines = log_of(page, row)
    expect(lines).to_contain_text("fetch taken by")
    served.kill("api")
    expect(page.get_by_text(CUT)).to_be_visible(timeout=SLOW_MS)
    held.release()
    expect(page.get_by_text(LIVE)).to_be_visible(timeout=SLOW_MS)
    expect(row.get_by_text("delivered").first).to_be_visible(timeout=SLOW_MS)
    expect(lines).to_have_text(served.log_of(order_id), use_inner_text=True)
    page.keyboard.press("Escape")
    _later_id, later = placed(served, {"type": "path", "path": str(served.slides / SAMPLE)})
    expect(row_of(page, later).get_by_text("delivered").first).to_be_visible(timeout=SLOW_MS)
    assert is_marked(page)
    unexpected = [fault for fault in watched.faults if "net::ERR_" not in fault]
    assert unexpected == []
    watched.faults.clear()


def test_a_failure_is_told_while_it_is_looked_at(served: PageService, watch: Watch) -> None:
    """Whose fault it is, what is wrong and what to do, in the words of the order itself."""
    watched = watch(served)
    watched.expected.update({410, 422})
    page = watched.open("#/jobs")
    mark(page)
    order_id, case = placed(served, {"type": "path", "path": str(served.slides / LETTER)})
    row = row_of(page, case)
    expect(row.get_by_text("failed").first).to_be_visible(timeout=SLOW_MS)
    (scan,) = served.get(f"/v1/orders/{order_id}")["scans"]
    error = scan["error"]
    assert (error["code"], error["blame"]) == ("not_a_slide", "input")
    assert error["detail"]
    assert error["hint"]
    row.get_by_role("link", name=re.compile(f"^{order_id[:10]}")).click()
    told = page.get_by_role("alert").filter(has_text=error["code"])
    for words in (error["detail"], error["hint"], "The slide or the order is the cause."):
        expect(told.get_by_text(words).first).to_be_visible()
    expect(page.get_by_text("failed").first).to_be_visible()
    assert is_marked(page)
