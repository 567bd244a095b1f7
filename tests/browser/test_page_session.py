"""A session that ends with its key while somebody works, and what a browser keeps of a key."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings
from tests.support.browser import WatchedPage
from tests.support.slides import a_picture, a_slide
from tests.support.stack import Stack, wait_for
from worker.algorithms.builtin.cards import ki67_card

Watch = Callable[..., WatchedPage]
LAB = "canary-key-of-the-lab"
NIGHT = "canary-key-of-the-night"
SLOW_MS = 60_000
_KEPT = """
async () => JSON.stringify([
  location.href, document.title, document.cookie, history.state, self.name,
  { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(), await caches.keys(),
  document.documentElement.outerHTML,
  [...document.querySelectorAll('input, textarea')].map((one) => one.value),
])
"""


class KeyedService(Stack):
    """The API and the viewer as processes, with a file of keys; no workers."""

    roles = ("api", "viewer")

    def __init__(self, folder: Path) -> None:
        slides = folder / "slides"
        slides.mkdir()
        a_slide(slides / "a.svs", a_picture(1024, 768))
        (folder / "data").mkdir(mode=0o700)
        super().__init__(folder / "data", [slides])
        self.keys_file = folder / "keys.json"
        self.env |= {"SLIDELANE_SERVICES__KEYS_FILE": str(self.keys_file)}
        self.write_keys(lab=LAB)

    def write_keys(self, **keys: str) -> None:
        """Let these keys be valid, and no others."""
        entries = [
            {"name": name, "sha256": _sha256(key), "scopes": ["order", "read"]}
            for name, key in keys.items()
        ]
        temporary = self.keys_file.with_suffix(".new")
        temporary.write_text(json.dumps(entries))
        temporary.replace(self.keys_file)

    def logs(self) -> str:
        """Return what the processes have logged."""
        return "".join((self.data / f"{role}.log").read_text() for role in self.roles)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedService]:
    """The service, with an algorithm that a worker has announced."""
    with KeyedService(tmp_path_factory.mktemp("keyed")) as service:
        OrderStore.connect(BrokerSettings(data=service.data)).announce([ki67_card()])
        listing = {"Authorization": f"Bearer {LAB}"}
        wait_for(lambda: service.call("GET", "/v1/slides", headers=listing)[0] == 200)
        yield service


@pytest.fixture
def keyed(running: KeyedService) -> KeyedService:
    """The service, which takes the key of the lab alone."""
    running.write_keys(lab=LAB)
    bearer = {"Authorization": f"Bearer {LAB}"}
    wait_for(lambda: running.call("GET", "/v1/orders", headers=bearer)[0] == 200)
    return running


def log_in(page: Page, key: str, name: str) -> None:
    """Enter a key on the sheet, and wait until its name stands on the page."""
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    bar = page.get_by_role("banner")  # an order in the list has the name, too
    expect(bar.get_by_text(name, exact=True)).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_label("API key")).to_have_count(0)


def test_a_key_that_is_revoked_costs_nothing_that_was_entered(
    keyed: KeyedService, watch: Watch
) -> None:
    """The sheet lies over the form; after another key the slide, the numbers, all of it is there."""
    watched = watch(keyed)
    page = watched.open()
    log_in(page, LAB, "lab")
    page.get_by_role("button", name="Server folder").click()
    page.get_by_role("button", name="a.svs").click()
    expect(page.get_by_text("1,024 × 768 px").first).to_be_visible(timeout=SLOW_MS)
    page.get_by_role("button", name="Rectangle").click()
    typed = {"x": "100", "y": "50", "width": "300", "height": "200"}
    for side, value in typed.items():
        page.get_by_label(side, exact=True).fill(value)
    page.get_by_label("Case").fill("S26-9")
    page.get_by_label("Positive threshold").fill("0.3")
    order = page.get_by_role("button", name="Order", exact=True)
    expect(order).to_be_enabled()
    watched.expected.add(401)
    keyed.write_keys(night=NIGHT)
    wait_until_refused(keyed, LAB)
    order.click()
    expect(page.get_by_label("API key")).to_be_visible(timeout=SLOW_MS)
    log_in(page, NIGHT, "night")
    # The order that was pressed goes on by itself: nobody has to press it again.
    expect(page.get_by_role("progressbar", name="Progress of the order")).to_be_visible()
    page.get_by_role("link", name="Order", exact=True).click()
    for side, value in typed.items():
        expect(page.get_by_label(side, exact=True)).to_have_value(value)
    expect(page.get_by_label("Case")).to_have_value("S26-9")
    expect(page.get_by_label("Positive threshold")).to_have_value("0.3")
    expect(page.get_by_text("1,024 × 768 px").first).to_be_visible()
    placed = page.request.get(f"{keyed.url}/v1/orders").json()["orders"][0]
    assert placed["created_by"] == "night"
    assert placed["scans"][0]["roi"] == {side: int(value) for side, value in typed.items()}
    assert placed["labels"] == {"case": "S26-9"}
    assert placed["parameters"]["positive_threshold"] == 0.3


def wait_until_refused(keyed: KeyedService, key: str) -> None:
    """Block until the API knows that the key is gone."""
    bearer = {"Authorization": f"Bearer {key}"}
    wait_for(lambda: keyed.call("GET", "/v1/orders", headers=bearer)[0] == 401)


def test_a_list_that_nobody_touches_asks_for_a_key_by_itself(
    keyed: KeyedService, watch: Watch
) -> None:
    """The stream ends with the key. Nothing is asked until the login; then it is live again."""
    watched = watch(keyed)
    watched.page.clock.install()
    page = watched.open("#/jobs")
    log_in(page, LAB, "lab")
    expect(page.get_by_text("● live")).to_be_visible(timeout=SLOW_MS)
    watched.expected.add(401)
    keyed.write_keys(night=NIGHT)
    expect(page.get_by_label("API key")).to_be_visible(timeout=SLOW_MS)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(10 * 60 * 1000)
    assert asked == []
    log_in(page, NIGHT, "night")
    expect(page.get_by_text("● live")).to_be_visible(timeout=SLOW_MS)
    lists = [address for address in asked if "/v1/orders?" in address]
    assert 1 <= len(lists) <= 3


def test_nothing_keeps_a_key(keyed: KeyedService, watch: Watch) -> None:
    """After a wrong key, a login and a logout no storage, text, address or log has any of them."""
    watched = watch(keyed)
    addresses: list[str] = []
    watched.page.on("request", lambda request: addresses.append(request.url))
    said: list[str] = []
    watched.page.on("console", lambda message: said.append(message.text))
    page = watched.open("#/jobs")
    watched.expected.add(401)
    page.get_by_label("API key").fill("canary-key-that-is-wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("the API key is not known here")).to_be_visible()
    log_in(page, LAB, "lab")
    kept = [page.evaluate(_KEPT)]
    cookies = page.context.cookies()
    assert [(one["name"], one["httpOnly"], one["sameSite"]) for one in cookies] == [
        ("slidelane", True, "Strict")
    ]
    token = cookies[0].get("value")
    assert token
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    kept.append(page.evaluate(_KEPT))
    assert page.context.cookies() == []
    ended = keyed.call("GET", "/v1/session", headers={"Cookie": f"slidelane={token}"})
    assert ended[0] == 401
    everything = "\n".join([*kept, *addresses, *said, keyed.logs()])
    assert "Log in" in kept[1]
    for secret in ("canary-key", token, _sha256(LAB)):
        assert secret not in everything
