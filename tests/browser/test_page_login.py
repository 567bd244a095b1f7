"""Logging in on the page: a sheet over it, under which nothing is lost."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import KEY
from tests.support.browser import Site, WatchedPage

Watch = Callable[..., WatchedPage]


@pytest.mark.parametrize("key", [KEY, "wrong"], ids=["right", "wrong"])
def test_a_key_logs_in_and_nothing_is_lost(keyed_site: Site, watch: Watch, key: str) -> None:
    """The sheet lies over the page; a wrong key is refused in words."""
    watched = watch(keyed_site)
    if key == "wrong":
        watched.expected.add(401)
    page = watched.open("#/jobs")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()
    if key == "wrong":
        expect(page.get_by_text("the API key is not known here")).to_be_visible()
        return
    expect(page.get_by_text("Nothing was ordered yet.")).to_be_visible()
    expect(page.get_by_text("lab", exact=True)).to_be_visible()
    assert KEY not in page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_session_that_ends_asks_again_over_the_form(keyed_site: Site, watch: Watch) -> None:
    """What was filled in is still there after logging in again."""
    watched = watch(keyed_site)
    page = watched.open()
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Case").fill("S26-9")
    watched.expected.add(401)
    page.context.clear_cookies()
    page.get_by_role("button", name="Server folder").click()
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Canary Smith.svs")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_label("Case")).to_have_value("S26-9")
