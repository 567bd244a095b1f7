"""Ordering on the page: a slide, an algorithm, a region and a destination become an order."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, Page, Response, Route, expect

from broker.uploads import Uploads
from tests.browser.conftest import HEIGHT, WIDTH
from tests.support.browser import Site, WatchedPage

Watch = Callable[..., WatchedPage]
SLOW_MS = 60_000


def choose(page: Page, *names: str) -> None:
    """Choose a slide of the server by its folders and name."""
    page.get_by_role("button", name="Server folder").click()
    for name in names:
        page.get_by_role("dialog").get_by_role("button", name=name).click()
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=SLOW_MS)


def fetched(site: Site, looked: Response) -> None:
    """Do what a courier does for a slide that was uploaded and is not shown at once."""
    if looked.json()["state"] == "ready":
        return
    upload = looked.request.post_data_json["source"]["upload"]
    slides = site.store.viewed_slides
    claim = slides.claim(looked.json()["id"], "courier-1@here")
    assert claim
    slides.finish(claim, str(Uploads(site.uploads).slide_path(upload)), None)


def placed(page: Page, site: Site) -> dict[str, object]:
    """Press Order; return the order as the API shows it to this browser."""
    page.get_by_role("button", name="Order", exact=True).click()
    return shown_order(page, site)


def shown_order(page: Page, site: Site) -> dict[str, object]:
    """Return the order that the page goes to, as the API shows it to this browser."""
    page.wait_for_url(re.compile(r"#/orders/\w+/1"), timeout=SLOW_MS)
    order_id = page.url.split("/")[-2]
    answer = page.request.get(f"{site.url}/v1/orders/{order_id}")
    document: dict[str, object] = answer.json()
    return document


def test_a_slide_of_the_server_is_ordered_with_a_region(site: Site, watch: Watch) -> None:
    """The numbers of the region and a changed parameter are in the order, and the case."""
    page = watch(site).open()
    choose(page, "Canary Smith.svs")
    expect(page.get_by_label("Algorithm")).to_have_value("ki67")
    threshold = page.get_by_label("Positive threshold")
    threshold.fill("")
    threshold.press_sequentially("0.2")
    page.get_by_role("button", name="Rectangle").click()
    for side, value in {"x": 100, "y": 50, "width": 300, "height": 200}.items():
        page.get_by_label(side, exact=True).fill(str(value))
    page.get_by_label("x", exact=True).press("Shift+ArrowUp")
    page.get_by_label("y", exact=True).press("ArrowDown")
    page.get_by_label("Case").fill("S26-7")
    expect(page.get_by_text(re.compile(r"about \d+ s|\d+ tiles?")).first).to_be_visible()
    order = placed(page, site)
    (scan,) = order["scans"]  # type: ignore[misc]
    assert scan["roi"] == {"x": 200, "y": 49, "width": 300, "height": 200}
    assert order["labels"] == {"case": "S26-7"}
    assert order["parameters"]["positive_threshold"] == 0.2  # type: ignore[index]
    expect(page.get_by_role("progressbar", name="Progress of the order")).to_be_visible()
    expect(page.get_by_text("queued").first).to_be_visible()


def test_nothing_of_a_case_goes_with_the_next_slide(site: Site, watch: Watch) -> None:
    """Its label and what its task gave are gone; what was written before any slide is kept."""
    page = watch(site).open()
    page.get_by_label("Case").fill("S26-7")
    choose(page, "Canary Smith.svs")
    expect(page.get_by_label("Case")).to_have_value("S26-7")
    page.get_by_label("Deliver to").select_option("loader")
    page.get_by_label("Case at the destination").fill("C-9")
    choose(page, "ward 7", "no-scale.svs")
    expect(page.get_by_text("Say how large a pixel is.")).to_be_visible()
    expect(page.get_by_label("Case (may be empty)")).to_have_value("")
    expect(page.get_by_label("Case at the destination")).to_have_value("")


def test_the_region_that_is_written_is_the_one_ordered(site: Site, watch: Watch) -> None:
    """Ctrl+Enter from inside of a field orders its text; what cannot be read is not ordered."""
    page = watch(site).open()
    choose(page, "Canary Smith.svs")
    order = page.get_by_role("button", name="Order", exact=True)
    page.get_by_role("button", name="Rectangle").click()
    expect(order).to_be_enabled()
    page.get_by_label("x", exact=True).fill("")
    expect(order).to_be_disabled()
    page.get_by_role("button", name="Polygon").click()
    corners = page.get_by_label("Corners")
    corners.fill("100, 50\n400, 50\n400, 300\n100; 3oo")
    expect(page.get_by_text("“100; 3oo” is no corner")).to_be_visible()
    expect(order).to_be_disabled()
    corners.blur()
    expect(corners).to_have_value("100, 50\n400, 50\n400, 300\n100; 3oo")
    corners.fill("100, 50\n400, 50\n400, 300\n100; 300")
    corners.press("Control+Enter")
    (scan,) = shown_order(page, site)["scans"]  # type: ignore[misc]
    assert scan["roi"] == {"polygon": [[100, 50], [400, 50], [400, 300], [100, 300]]}


def test_addresses_title_and_storage_hold_no_name(site: Site, watch: Watch) -> None:
    """A slide's name may be that of a patient: it stands on the page and nowhere else."""
    page = watch(site).open()
    choose(page, "Canary Smith.svs")
    placed(page, site)
    expect(page.get_by_role("heading", level=1)).to_have_text("Canary Smith.svs")
    kept = page.evaluate(
        "JSON.stringify([location.href, document.title, {...localStorage}, {...sessionStorage}])"
    )
    assert "Canary" not in kept


def test_a_slide_without_a_scale_asks_for_it(site: Site, watch: Watch) -> None:
    """Nothing can be ordered before a person has said how large a pixel is."""
    page = watch(site).open()
    choose(page, "ward 7", "no-scale.svs")
    expect(page.get_by_text("Say how large a pixel is.")).to_be_visible()
    expect(page.get_by_role("button", name="Order", exact=True)).to_be_disabled()
    page.get_by_label("Size of a pixel").fill("0.25")
    order = placed(page, site)
    (scan,) = order["scans"]  # type: ignore[misc]
    assert scan["mpp"] == 0.25


def test_a_fault_stands_at_its_input(site: Site, watch: Watch) -> None:
    """A value beyond its limits is marked, said in words, and put right by one click."""
    page = watch(site).open()
    choose(page, "Canary Smith.svs")
    field = page.get_by_label("Positive threshold")
    field.fill("3")
    expect(page.get_by_text("at most 2 is asked for")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("button", name="Order", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Reset Positive threshold").click()
    expect(field).to_have_value("0.15")
    expect(page.get_by_role("button", name="Order", exact=True)).to_be_enabled()


def test_a_text_that_cannot_be_read_is_no_parameter(site: Site, watch: Watch) -> None:
    """A list of numbers with a letter in it is said at its input, and Reset takes it back."""
    page = watch(site).open("#/system")
    page.route("**/v1/algorithms", with_numbers, times=1)
    page.get_by_role("link", name="Order", exact=True).click()
    choose(page, "Canary Smith.svs")
    field = page.get_by_label("Weights")
    order = page.get_by_role("button", name="Order", exact=True)
    expect(field).to_have_value("0.1, 0.2")
    expect(order).to_be_enabled()
    field.fill("0.1, o.2")
    expect(page.get_by_text("numbers with commas between them are asked for")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(order).to_be_disabled()
    page.get_by_role("button", name="Reset Weights").click()
    expect(field).to_have_value("0.1, 0.2")
    expect(order).to_be_enabled()


def with_numbers(route: Route) -> None:
    """Answer the algorithms, each with one more parameter, which holds several numbers."""
    answer = route.fetch()
    found = answer.json()
    weights = {"type": "array", "items": {"type": "number"}, "default": [0.1, 0.2]}
    for card in found["algorithms"]:
        card["parameters"]["properties"]["weights"] = weights
    route.fulfill(response=answer, json=found)


def test_a_region_beyond_the_slide_is_refused_at_its_fields(site: Site, watch: Watch) -> None:
    """What the server refuses lands on the input that its problem names."""
    watched = watch(site)
    watched.expected.add(422)
    page = watched.open()
    choose(page, "Canary Smith.svs")
    page.get_by_role("button", name="Rectangle").click()
    page.get_by_label("x", exact=True).fill("90000")
    expect(page.get_by_label("x", exact=True)).to_have_attribute("aria-invalid", "true")


def test_a_named_destination_gets_what_it_lacks(site: Site, watch: Watch) -> None:
    """The form asks for the fields that every order adds to it."""
    page = watch(site).open()
    choose(page, "Canary Smith.svs")
    page.get_by_label("Deliver to").select_option("loader")
    page.get_by_label("Case at the destination").fill("C-9")
    order = placed(page, site)
    assert order["destination"]["name"] == "loader"  # type: ignore[index]
    assert order["destination"]["case_id"] == "C-9"  # type: ignore[index]


def test_a_dropped_file_is_uploaded_and_ordered(site: Site, watch: Watch) -> None:
    """Its name is in no storage, and the order's source is the upload."""
    page = watch(site).open()
    with page.expect_response("**/v1/slides", timeout=SLOW_MS) as looked:
        page.get_by_label("Slide files").set_input_files(site.slides / "Canary Smith.svs")
    fetched(site, looked.value)
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=SLOW_MS)
    assert "Canary" not in page.evaluate("JSON.stringify({...sessionStorage})")
    order = placed(page, site)
    (scan,) = order["scans"]  # type: ignore[misc]
    assert scan["source"]["type"] == "upload"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.svs", "b.NDPI"], "One slide at a time"),
        ([f"{number}.dcm" for number in range(1001)], "These are too many files for one slide"),
    ],
    ids=["several slides", "too many files"],
)
def test_files_that_are_no_one_slide_are_refused(
    site: Site, watch: Watch, names: list[str], words: str
) -> None:
    """All but one of several slides would vanish: nothing is sent, and the page says why."""
    page = watch(site).open()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    files: list[FilePayload] = [
        {"name": name, "mimeType": "application/octet-stream", "buffer": b"1"} for name in names
    ]
    page.get_by_label("Slide files").set_input_files(files)
    expect(page.get_by_text(words, exact=True)).to_be_visible()
    assert [url for url in sent if "/v1/uploads" in url] == []


def test_an_upload_goes_on_after_a_cut(site: Site, watch: Watch) -> None:
    """The connection is cut once while the file is sent; nobody has to do anything."""
    watched = watch(site)
    page = watched.open()
    sent = []

    def cut_once(route: Route) -> None:
        if route.request.method != "PATCH":
            route.continue_()
            return
        sent.append(route.request.headers["upload-offset"])
        if len(sent) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/v1/uploads/*", cut_once)
    with page.expect_response("**/v1/slides", timeout=SLOW_MS) as looked:
        page.get_by_label("Slide files").set_input_files(site.slides / "Canary Smith.svs")
    fetched(site, looked.value)
    expect(page.get_by_text(f"{WIDTH:,} × {HEIGHT:,} px").first).to_be_visible(timeout=SLOW_MS)
    assert sent == ["0", "0"]
    cut = [one for one in watched.faults if "ERR_CONNECTION_RESET" in one]
    assert watched.faults == cut
    watched.faults.clear()


def test_an_address_is_sent_once_and_cleared(site: Site, watch: Watch) -> None:
    """A refused URL leaves nothing of its signature on the page."""
    watched = watch(site)
    watched.expected.add(422)
    page = watched.open()
    page.get_by_role("button", name="URL").click()
    page.get_by_label("Address of the slide").fill("https://10.0.0.9/a.svs?X-Amz-Signature=canary")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_text("host_not_allowed")).to_be_visible()
    assert "canary" not in page.content()
