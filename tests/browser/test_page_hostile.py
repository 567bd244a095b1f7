"""Slides that break their decoders, names that would be markup, and names of patients."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import WatchedPage
from tests.support.page_service import HANGING, HEIGHT, MARKUP, SAMPLE, WIDTH, PageService
from tests.support.processes import family
from tests.support.stack import wait_for

Watch = Callable[..., WatchedPage]
SLOW_MS = 90_000
SIZE = f"{WIDTH:,} × {HEIGHT:,} px"
_KEPT = """
async () => JSON.stringify([
  location.href, document.title, document.cookie, history.state, self.name,
  { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(), await caches.keys(),
])
"""


def choose(page: Page, slide: str) -> None:
    """Choose a slide of the server."""
    page.get_by_role("button", name="Server folder").click()
    page.get_by_role("dialog").get_by_role("button", name=slide).click()


def shown(page: Page, slide: str) -> Locator:
    """Choose a slide, wait until it is open, and return what takes its keys."""
    choose(page, slide)
    expect(page.get_by_text(SIZE).first).to_be_visible(timeout=SLOW_MS)
    expect(page.locator('.viewer[data-open="true"]')).to_be_visible(timeout=SLOW_MS)
    return page.get_by_role("application", name="Slide")


def decoders(process: int, slide: Path) -> set[int]:
    """Return the processes, started by this one, that have the slide open."""
    return {pid for pid in family(process) if slide in _open_files(pid)}


def _open_files(pid: int) -> set[Path]:
    try:
        return {link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it has ended
        return set()


@contextmanager
def broken(process: int, slide: Path, number: signal.Signals) -> Iterator[None]:
    """Send a signal to every decoder of the slide as soon as it has opened it."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.001):
            for pid in decoders(process, slide):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("slide", "number", "words"),
    [
        (MARKUP, signal.SIGSEGV, "its decoder crashed"),
        (HANGING, signal.SIGSTOP, "longer than"),
    ],
    ids=["crashes", "hangs"],
)
def test_a_slide_that_breaks_its_decoder_is_said_and_others_go_on(
    served: PageService, watch: Watch, slide: str, number: signal.Signals, words: str
) -> None:
    """Its own page says what happened; meanwhile another slide opens, and then in this tab too."""
    viewer = served.pid("viewer")
    other = watch(served).open()
    watched = watch(served)
    watched.expected.update({409, 422})
    page = watched.open()
    with broken(viewer, served.slides / slide, number):
        choose(page, slide)
        told = page.get_by_role("alert").filter(has_text=words)
        with other.expect_response(lambda answer: "/0/default.jpg" in answer.url) as tile:
            shown(other, SAMPLE)
        assert tile.value.ok
        expect(told).to_be_visible(timeout=SLOW_MS)
        expect(told).to_contain_text("What to do:")
    shown(page, SAMPLE)
    expect(told).to_have_count(0)
    assert served.pid("viewer") == viewer
    wait_for(lambda: not decoders(viewer, served.slides / slide), what="the decoder's end")


@pytest.fixture
def ordered(served: PageService) -> str:
    """The id of a delivered order whose names would be markup."""
    scan = {"id": "1", "source": {"type": "path", "path": str(served.slides / MARKUP)}}
    labels = {"case": "<script>alert(2)</script>", "ward": "<b onclick=alert(3)>7</b>"}
    order_id = served.order(algorithm="grid", scans=[scan], labels=labels)
    served.wait_until(order_id, "delivered")
    return order_id


def test_markup_in_names_stays_text(served: PageService, watch: Watch, ordered: str) -> None:
    """A slide, a case, a label and lines of a log are shown letter by letter."""
    watched = watch(served)
    page = watched.open()
    page.on("dialog", lambda dialog: watched.faults.append(f"dialog: {dialog.message}"))
    shown(page, MARKUP)
    expect(page.get_by_text(MARKUP, exact=True).first).to_be_visible()
    no_markup(page)
    page.goto(f"{served.url}/#/jobs")
    row = page.get_by_role("row").filter(has_text="<script>alert(2)</script>").first
    expect(row.get_by_text(MARKUP, exact=True)).to_be_visible()
    no_markup(page)
    page.goto(f"{served.url}/#/orders/{ordered}/1")
    expect(page.get_by_role("heading", level=1)).to_have_text(MARKUP)
    page.get_by_text("Order and parameters").click()
    expect(page.get_by_text("<b onclick=alert(3)>7</b>", exact=True)).to_be_visible()
    log = page.get_by_label("Log", exact=True)
    expect(log).to_contain_text("delivered")
    page.route("**/log", lambda route: route.fulfill(body=f"a line of {MARKUP}\n"))
    page.reload()
    expect(log).to_contain_text(f"a line of {MARKUP}")
    no_markup(page)


def no_markup(page: Page) -> None:
    """Check that no name has become an element: the page has neither such an image nor a script."""
    assert page.locator('img[src="x"], [onerror], [onclick], main script').count() == 0


def test_names_of_patients_are_on_the_page_alone(served: PageService, watch: Watch) -> None:
    """Neither a title, nor an address, nor any storage of the browser holds a file or a case."""
    case = "Canary Jones 1970-01-01"
    scan = {"id": "1", "source": {"type": "path", "path": str(served.slides / SAMPLE)}}
    order_id = served.order(algorithm="grid", scans=[scan], labels={"case": case})
    served.wait_until(order_id, "delivered")
    page = watch(served).open()
    shown(page, SAMPLE)
    page.get_by_label("Case").fill(case)
    kept = [page.evaluate(_KEPT)]
    page.goto(f"{served.url}/#/jobs")
    page.get_by_label("Label").fill(case)
    page.get_by_label("Label").press("Enter")
    expect(page.get_by_role("row").filter(has_text=case)).to_have_count(1)
    kept.append(page.evaluate(_KEPT))
    page.get_by_role("row").filter(has_text=case).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(SAMPLE)
    expect(page.get_by_text(case).first).to_be_visible()
    page.get_by_role("application", name="Slide").press("+")
    kept.append(page.evaluate(_KEPT))
    assert order_id in kept[2]
    assert [words for words in kept if "Canary" in words or "1970" in words] == []
