"""What the page shows to a key that may do only part of it: words, and never an empty page."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from broker.order_store.lifecycle import Creator
from tests.browser.conftest import running
from tests.support.browser import Site, WatchedPage
from tests.support.orders import a_request

Watch = Callable[..., WatchedPage]
RIGHTS = {
    "own": {"own_orders_only": True},
    "reader": {"scopes": ["read"]},
}


@pytest.fixture(scope="module")
def site(redis_url: str, tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Iterator[Site]:
    """A site with keys of different rights, each of which is its own name."""
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), **rights}
        for name, rights in RIGHTS.items()
    ]
    with running(redis_url, tmp_path_factory.mktemp("data"), slides, keys=keys) as site:
        yield site


def logged_in(site: Site, watch: Watch, key: str, address: str = "", *expected: int) -> Page:
    """Return the page after a login. `expected`: the refusals that the test provokes."""
    watched = watch(site)
    watched.expected.update({401, *expected})
    page = watched.open(address)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("banner").get_by_text(key, exact=True)).to_be_visible()
    return page


def ordered(site: Site, case: str, name: str) -> str:
    """Place an order with a key, and return its id."""
    created = site.store.create(
        a_request(labels={"case": case}), queue="gpu", creator=Creator(name)
    )
    return created.order_id


def test_a_key_that_sees_its_own_orders_only(site: Site, watch: Watch) -> None:
    """Its list holds them and says whose they are; of others and of folders it is told in words."""
    other = ordered(site, "S26-other", "reader")
    page = logged_in(site, watch, "own", "#/jobs", 403, 404)
    expect(page.get_by_text("Only orders that the key own may see stand here.")).to_be_visible()
    ordered(site, "S26-own", "own")
    expect(page.get_by_role("row").filter(has_text="S26-own")).to_have_count(1)
    expect(page.get_by_role("row").filter(has_text="S26-other")).to_have_count(0)
    page.goto(f"{site.url}/#/orders/{other}")
    expect(page.get_by_text("not_found")).to_be_visible()
    page.get_by_role("link", name="Order", exact=True).click()
    page.get_by_role("button", name="Server folder").click()
    expect(page.get_by_text("sees its own orders only, and no folders")).to_be_visible()
    expect(page.get_by_text("send the slide in, or give its URL")).to_be_visible()


def test_a_key_that_may_only_read(site: Site, watch: Watch) -> None:
    """What it may not do is refused in words, where it was asked for, and changes nothing."""
    order_id = ordered(site, "S26-kept", "own")
    page = logged_in(site, watch, "reader", f"#/orders/{order_id}", 403)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert").get_by_text("key_refused")).to_be_visible()
    page.get_by_role("link", name="Order", exact=True).click()
    page.get_by_role("button", name="Server folder").click()
    page.get_by_role("button", name="Canary Smith.svs").click()
    expect(page.get_by_role("alert").get_by_text("key_refused")).to_be_visible()
    page.get_by_role("link", name="Jobs and logs").click()
    row = page.get_by_role("row").filter(has_text="S26-kept")
    row.get_by_role("checkbox").check()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("0 cancelled; 1 refused")).to_be_visible()
    expect(row.get_by_text("queued").first).to_be_visible()
