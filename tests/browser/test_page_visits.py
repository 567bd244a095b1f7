"""Coming to a part of the page and leaving it: links, several scans, sheets, pages of the list."""

import re
import secrets
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from broker.errors import Problem
from tests.browser.conftest import HEIGHT, WIDTH
from tests.support.browser import Site, WatchedPage
from tests.support.orders import a_request, deliver
from worker.sources.path import find_slide

Watch = Callable[..., WatchedPage]
SLOW_MS = 60_000
SLIDES = ("Canary Smith.svs", "ward 7/no-scale.svs")


def a_case() -> str:
    """Return a label that no other order of the site has."""
    return f"S26-{secrets.token_hex(4)}"


def ordered(site: Site, **more: Any) -> str:
    """Place an order with one scan for each slide of the site, and return its id."""
    scans = [
        {"id": f"s{number}", "source": {"type": "path", "path": str(site.slides / slide)}}
        for number, slide in enumerate(SLIDES, 1)
    ]
    request = a_request(**more)
    body = request.model_dump(mode="json", exclude={"scans"}, exclude_none=True)
    request = type(request).model_validate(body | {"scans": scans}, strict=False)
    return site.store.create(request, queue="gpu").order_id


def staged(site: Site, order_id: str) -> None:
    """Do what a courier does for the first scan of an order."""
    claim = site.store.claim(f"{order_id}.0", "fetch", "courier-1@here")
    assert claim
    slide = find_slide(str(site.slides / SLIDES[0]), [site.slides])
    site.store.finish(claim, "staged", {"slide": slide.as_dict()})


def place_in_the_middle(page: Page) -> tuple[int, int]:
    """Return the level-0 pixel in the middle of the view, which the corner of the slide says."""
    box = page.locator(".viewer").bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0] - 1, middle[1])
    page.mouse.move(*middle)
    found = re.match(r"\s*x (-?\d+)\s+y (-?\d+)", page.locator(".viewer-bottom-right").inner_text())
    assert found
    return int(found.group(1)), int(found.group(2))


def test_a_link_shows_the_place_that_it_names(site: Site, watch: Watch) -> None:
    """The view of a colleague is there, stays in the address, and moves with the next link."""
    order_id = ordered(site)
    staged(site, order_id)
    page = watch(site).open(f"#/orders/{order_id}/s1?x=300&y=200&z=2")
    opened = page.locator('.viewer[data-open="true"]')
    expect(opened).to_be_visible(timeout=SLOW_MS)
    x, y = place_in_the_middle(page)
    assert abs(x - 300) <= 1
    assert abs(y - 200) <= 1
    page.get_by_role("application", name="Slide").press("ArrowRight")
    page.wait_for_url(lambda url: "x=300" not in url and "z=2" in url)
    moved = re.search(r"x=(\d+)&y=(\d+)", page.url)
    assert moved
    page.reload()
    expect(opened).to_be_visible(timeout=SLOW_MS)
    x, y = place_in_the_middle(page)
    assert abs(x - int(moved.group(1))) <= 2
    assert abs(y - int(moved.group(2))) <= 2
    page.evaluate("id => { location.hash = `#/orders/${id}/s1?x=600&y=500&z=4`; }", order_id)
    expect(page.locator(".viewer-top-left")).to_contain_text("80×")
    x, y = place_in_the_middle(page)
    assert abs(x - 600) <= 1
    assert abs(y - 500) <= 1


def test_each_scan_of_an_order_has_a_page(site: Site, watch: Watch) -> None:
    """One of two fails: its page says whose fault it is, and that of the other does not."""
    order_id = ordered(site)
    staged(site, order_id)
    claim = site.store.claim(f"{order_id}.1", "fetch", "courier-1@here")
    assert claim
    problem = Problem("not_a_slide", "the file holds a letter", "scan it again")
    site.store.finish(claim, "failed", problem=problem)
    page = watch(site).open(f"#/orders/{order_id}/s1")
    expect(page.get_by_role("heading", level=1)).to_have_text("Canary Smith.svs")
    scans = page.get_by_role("navigation", name="Scans of the order")
    expect(scans.get_by_role("link", name="s1")).to_have_attribute("aria-current", "page")
    scans.get_by_role("link", name="s2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("no-scale.svs")
    told = page.get_by_role("alert")
    for words in (
        "the file holds a letter",
        "scan it again",
        "The slide or the order is the cause",
    ):
        expect(told).to_contain_text(words)
    expect(page.get_by_text("The slide was not fetched.")).to_be_visible()


def test_a_scan_that_is_not_there_is_said_so(site: Site, watch: Watch) -> None:
    """The findings of another slide must not stand where a link names one."""
    order_id = ordered(site)
    page = watch(site).open(f"#/orders/{order_id}/s9")
    expect(page.get_by_text("The order has no scan “s9”.")).to_be_visible()
    page.get_by_role("link", name="s2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("no-scale.svs")


def test_a_sheet_gives_the_focus_back(site: Site, watch: Watch) -> None:
    """After Escape, Close or a choice it is where it was before, in both parts that have a sheet."""
    case = a_case()
    ordered(site, labels={"case": case})
    page = watch(site).open()
    folder = page.get_by_role("button", name="Server folder")
    row = page.get_by_role("row").filter(has_text=case)
    gives_back(page, folder)
    folder.click()
    page.get_by_role("dialog").get_by_role("button", name="Canary Smith.svs").click()
    expect(folder).to_be_focused()
    page.get_by_role("link", name="Jobs and logs").click()
    gives_back(page, row.get_by_role("button", name="Log of"))


def gives_back(page: Page, button: Locator) -> None:
    """Open a sheet twice and close it in both ways; check the focus after each."""
    sheet = page.get_by_role("dialog")
    button.click()
    expect(sheet).to_be_visible()
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    sheet.get_by_role("button", name="Close").click()
    expect(sheet).to_have_count(0)
    expect(button).to_be_focused()


def test_older_orders_are_shown_on_demand(site: Site, watch: Watch) -> None:
    """Fifty at first; the older ones stay while newer ones come, and filters hold for all."""
    ward = a_case()
    for _ in range(52):
        site.store.create(a_request(labels={"ward": ward}), queue="gpu")
    deliver(site.store, site.store.create(a_request(labels={"ward": ward}), queue="gpu").order_id)
    page = watch(site).open("#/jobs?algorithm=grid&state=queued")
    expect(page.get_by_label("State")).to_have_value("queued")
    page.get_by_label("Label").fill(f"ward={ward}")
    page.get_by_label("Label").press("Enter")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show older").click()
    expect(rows).to_have_count(52)
    expect(page.get_by_role("button", name="Show older")).to_have_count(0)
    site.store.create(a_request(labels={"ward": ward}), queue="gpu")
    expect(rows).to_have_count(53)
    with page.expect_download() as download:
        page.get_by_role("link", name="Table as CSV").click()
    assert len(download.value.path().read_text().splitlines()) == 1 + 53
    page.get_by_label("State").select_option("delivered")
    expect(rows).to_have_count(1)


def test_what_was_delivered_goes_to_another_place(site: Site, watch: Watch) -> None:
    """The old credentials are gone: the form asks where, and for what that place needs."""
    order_id = site.store.create(a_request(), queue="gpu").order_id
    deliver(site.store, order_id)
    watched = watch(site)
    watched.expected.update({404, 410, 422})
    page = watched.open(f"#/orders/{order_id}/0")
    page.get_by_role("button", name="Deliver again").click()
    form = page.locator("form.where")
    send = form.get_by_role("button", name="Deliver")
    expect(form.get_by_text("the credentials are forgotten")).to_be_visible()
    expect(send).to_be_disabled()
    form.get_by_label("Deliver to").select_option("loader")
    form.get_by_label("Case at the destination").fill("C-9")
    send.click()
    expect(form).to_have_count(0)
    expect(page.get_by_role("heading", name="Progress delivering")).to_be_visible()
    order = page.request.get(f"{site.url}/v1/orders/{order_id}").json()
    assert (order["destination"]["name"], order["destination"]["case_id"]) == ("loader", "C-9")


def test_an_upload_goes_on_in_another_part(site: Site, watch: Watch) -> None:
    """Nothing is lost by a look at the jobs: it is sent once, and is there on the way back.

    Whoever closes the tab meanwhile is asked first.
    """
    page = watch(site).open()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/v1/uploads/*", hold)
    page.get_by_label("Case").fill("S26-7")
    with page.expect_request(lambda request: request.method == "PATCH"):
        page.get_by_label("Slide files").set_input_files(site.slides / "Canary Smith.svs")
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    page.get_by_role("link", name="Jobs and logs").click()
    expect(page.get_by_role("heading", level=1, name="Jobs and logs")).to_be_visible()
    page.get_by_role("link", name="Order", exact=True).click()
    expect(page.get_by_role("progressbar", name="Upload")).to_be_visible()
    with page.expect_event("dialog") as leaving:
        page.close(run_before_unload=True)
    assert leaving.value.type == "beforeunload"
    leaving.value.dismiss()
    page.get_by_role("link", name="System").click()
    with page.expect_response("**/v1/slides", timeout=SLOW_MS) as looked:
        (part,) = held
        part.continue_()
    assert looked.value.status in (201, 202)
    page.get_by_role("link", name="Order", exact=True).click()
    expect(page.get_by_text("Canary Smith.svs").first).to_be_visible()
    expect(page.get_by_label("Case")).to_have_value("S26-7")


def test_an_order_whose_answer_is_lost_is_placed_once(site: Site, watch: Watch) -> None:
    """Pressed again after a cut, the same request goes out, and leads to the first order."""
    case = a_case()
    watched = watch(site)
    page = watched.open()
    page.get_by_label("Case").fill(case)
    page.get_by_role("button", name="Server folder").click()
    page.get_by_role("dialog").get_by_role("button", name="Canary Smith.svs").click()
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=SLOW_MS)
    order = page.get_by_role("button", name="Order", exact=True)

    def cut(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route("**/v1/orders", cut, times=1)
    order.click()
    expect(page.get_by_text("nothing that you entered is lost")).to_be_visible()
    order.click()
    page.wait_for_url(re.compile(r"#/orders/\w+/1"), timeout=SLOW_MS)
    placed = page.request.get(f"{site.url}/v1/orders?label.case={case}").json()["orders"]
    assert [one["id"] for one in placed] == [page.url.split("/")[-2]]
    assert [fault for fault in watched.faults if "ERR_CONNECTION_RESET" not in fault] == []
    watched.faults.clear()
