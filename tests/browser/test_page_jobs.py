"""The list of orders and the page of one order, live, with what can be done about them."""

import re
import secrets
from collections.abc import Callable
from typing import Any

from playwright.sync_api import APIResponse, Page, Route, expect

from broker.errors import Problem
from tests.support.browser import Site, WatchedPage
from tests.support.findings_results import classified_scan
from tests.support.orders import a_request, deliver
from worker.sources.path import find_slide

Watch = Callable[..., WatchedPage]


def a_case() -> str:
    """Return a label that no other order of the site has: a second try has the same site."""
    return f"S26-{secrets.token_hex(4)}"


def ordered(site: Site, case: str, slide: str = "Canary Smith.svs", **more: Any) -> str:
    """Place an order for a slide of the site, and return its id."""
    source = {"type": "path", "path": str(site.slides / slide)}
    scan = {"id": "1", "source": source}
    request = a_request(scans=1, labels={"case": case}, **more)
    whole = request.model_dump(mode="json", exclude={"scans"}, exclude_none=True)
    request = type(request).model_validate(whole | {"scans": [scan]}, strict=False)
    return site.store.create(request, queue="gpu").order_id


def failed(site: Site, case: str) -> str:
    """Place an order whose only scan fails, and return its id."""
    order_id = ordered(site, case)
    claim = site.store.claim(f"{order_id}.0", "fetch", "courier-1@here")
    assert claim
    problem = Problem("not_a_slide", "the file holds a letter", "scan it again")
    site.store.finish(claim, "failed", problem=problem)
    return order_id


def test_an_order_appears_and_moves_by_itself(site: Site, watch: Watch) -> None:
    """The list follows the stream of events: no reload shows the order, its worker, its state."""
    page = watch(site).open("#/jobs")
    expect(page.get_by_role("heading", name="Jobs and logs")).to_be_visible()
    case = a_case()
    order_id = ordered(site, case)
    row = page.get_by_role("row").filter(has_text=case)
    expect(row.get_by_text("queued").first).to_be_visible()
    claim = site.store.claim(f"{order_id}.0", "fetch", "courier-7@here")
    assert claim
    expect(row.get_by_text("running")).to_be_visible()
    expect(row.get_by_text("courier-7@here")).to_be_visible()
    site.store.finish(claim, "staged")
    claim = site.store.claim(f"{order_id}.0", "classify", "gpu-1@here")
    assert claim
    site.store.finish(claim, "classified", {"result": "results/x"})
    claim = site.store.claim(order_id, "deliver", "courier-7@here")
    assert claim
    site.store.finish(claim, "delivered")
    expect(row.get_by_text("delivered").first).to_be_visible()


def test_an_answer_from_before_an_event_changes_nothing(site: Site, watch: Watch) -> None:
    """A list that was read while an order was queued comes late: the order still runs."""
    case = a_case()
    order_id = ordered(site, case)
    page = watch(site).open("#/jobs")
    row = page.get_by_role("row").filter(has_text=case)
    expect(row.get_by_text("queued").first).to_be_visible()
    expect(page.get_by_text("● live")).to_be_visible()
    held: list[tuple[Route, APIResponse]] = []
    page.route("**/v1/orders?*", lambda route: held.append((route, route.fetch())), times=1)
    later = a_case()
    ordered(site, later)
    wait_on(page, lambda: bool(held))
    assert site.store.claim(f"{order_id}.0", "fetch", "courier-8@here")
    expect(row.get_by_text("running")).to_be_visible()
    ((route, answer),) = held
    route.fulfill(response=answer)
    expect(page.get_by_role("row").filter(has_text=later)).to_have_count(1)
    assert row.get_by_text("running").is_visible()


def wait_on(page: Page, is_true: Callable[[], bool]) -> None:
    """Let the browser go on until the condition holds."""
    for _ in range(600):
        if is_true():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not become true")


def test_filters_are_in_the_address_but_no_case(site: Site, watch: Watch) -> None:
    """State and algorithm can be sent to a colleague; a label may name a patient."""
    waiting = a_case()
    done = a_case()
    ordered(site, waiting)
    deliver(site.store, ordered(site, done))
    page = watch(site).open("#/jobs")
    page.get_by_label("Label").fill(waiting)
    page.get_by_label("Label").press("Enter")
    expect(page.get_by_role("row").filter(has_text=done)).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text=waiting)).to_have_count(1)
    page.get_by_label("State").select_option("delivered")
    expect(page.get_by_text("No order fits these filters.")).to_be_visible()
    assert page.url.endswith("#/jobs?state=delivered")
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("row").filter(has_text=done)).to_have_count(1)


def test_several_orders_are_cancelled_at_once(site: Site, watch: Watch) -> None:
    """Only what their states allow can be pressed; what was done is said."""
    cases = (a_case(), a_case())
    for case in cases:
        ordered(site, case)
    page = watch(site).open("#/jobs")
    expect(page.get_by_role("button", name="Cancel")).to_be_disabled()
    for case in cases:
        page.get_by_role("row").filter(has_text=case).get_by_role("checkbox").check()
    expect(page.get_by_role("button", name="Retry")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("2 cancelled")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=cases[1])
    expect(row.get_by_text("cancelled").first).to_be_visible()


def test_a_log_is_read_over_the_list(site: Site, watch: Watch) -> None:
    """Its lines come live, and a filter leaves those with a word."""
    case = a_case()
    order_id = ordered(site, case)
    page = watch(site).open("#/jobs")
    row = page.get_by_role("row").filter(has_text=case)
    row.get_by_role("button", name="Log of").click()
    sheet = page.get_by_role("dialog")
    assert site.store.claim(f"{order_id}.0", "fetch", "courier-9@here")
    expect(sheet.get_by_text("fetch taken by courier-9@here")).to_be_visible()
    sheet.get_by_label("Filter the log").fill("no such word")
    expect(sheet.get_by_text("has “no such word”")).to_be_visible()
    page.keyboard.press("Escape")  # empties the filter
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)


def test_a_failure_is_told_in_words_and_tried_again(site: Site, watch: Watch) -> None:
    """What is wrong, whose fault it is and what to do stand on the page of the order."""
    order_id = failed(site, a_case())
    page = watch(site).open(f"#/orders/{order_id}")
    for words in (
        "the file holds a letter",
        "scan it again",
        "The slide or the order is the cause.",
    ):
        expect(page.get_by_text(words).first).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("progressbar", name="Progress of the order")).to_be_visible()
    expect(page.get_by_text("The slide or the order is the cause.")).to_have_count(0)


def test_findings_and_downloads_of_an_order(site: Site, watch: Watch) -> None:
    """One checkbox a class, files with their sizes; of a slide that is gone the page says so."""
    path, _folder = classified_scan(site.store, site.storage, count=50)
    watched = watch(site)
    watched.expected.add(410)
    page = watched.open("#" + path.removeprefix("/v1").replace("/scans", ""))
    expect(page.get_by_role("checkbox", name=re.compile("negative", re.IGNORECASE))).to_be_checked()
    link = page.get_by_role("link", name=re.compile("^Findings as tiles"))
    expect(link).to_contain_text(re.compile(r"\d B|kB"))
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("^GeoJSON .*B$")).first.click()
    assert download.value.suggested_filename.endswith(".geojson")
    expect(page.get_by_text("slide_gone")).to_be_visible()


def test_the_slide_of_an_order_has_its_scale(site: Site, watch: Watch) -> None:
    """The bar on it is in microns, as the slide says; files that are no longer kept are told."""
    order_id = ordered(site, a_case())
    claim = site.store.claim(f"{order_id}.0", "fetch", "courier-1@here")
    assert claim
    slide = find_slide(str(site.slides / "Canary Smith.svs"), [site.slides])
    site.store.finish(claim, "staged", {"slide": slide.as_dict()})
    claim = site.store.claim(f"{order_id}.0", "classify", "gpu-1@here")
    assert claim
    site.store.finish(claim, "classified", {"result": "results/x"})
    watched = watch(site)
    watched.expected.add(404)
    page = watched.open(f"#/orders/{order_id}/1")
    expect(page.get_by_text(re.compile(r"^\d+ µm$"))).to_be_visible()
    expect(page.get_by_text("no longer kept").first).to_be_visible()


def test_an_order_that_is_not_there_is_said_so(site: Site, watch: Watch) -> None:
    """An address that was sent long ago leads to words, not to an empty page."""
    watched = watch(site)
    watched.expected.add(404)
    page = watched.open("#/orders/0123456789abcdef01234567")
    expect(page.get_by_text("not_found")).to_be_visible()
    page.get_by_role("link", name="All jobs and logs").click()
    expect(page.get_by_role("heading", name="Jobs and logs")).to_be_visible()


def test_a_part_that_cannot_be_fetched_says_so(site: Site, watch: Watch) -> None:
    """After an update of the service, the old files are gone: the page asks to be reloaded."""
    watched = watch(site)
    watched.expected.add(404)
    page = watched.open("#/jobs")
    page.route("**/pages/system.js", lambda route: route.fulfill(status=404))
    page.get_by_role("link", name="System").click()
    expect(page.get_by_text("This part of the page could not be fetched")).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="System", level=1)).to_be_visible()
