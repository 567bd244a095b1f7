"""The pixels of slides: passed on from the viewer, with the headers that may be passed on."""

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import Config, load
from services.app import create_app
from tests.services.conftest import LOOPBACK
from tests.services.slides.conftest import PATH, looked_at
from tests.support.viewer_stand_in import ETAG, FACTS, TILE, ViewerStandIn

TILE_PATH = "0,0,512,512/512,512/0/default.jpg"


def test_a_tile_is_passed_on_with_its_validators(api: TestClient, viewer: ViewerStandIn) -> None:
    """Bytes, type, ETag and Cache-Control are the viewer's; no other header of it is."""
    slide = looked_at(api)
    tile = api.get(f"{slide['iiif']}/{TILE_PATH}")
    assert (tile.status_code, tile.content) == (200, TILE)
    assert tile.headers["content-type"] == "image/jpeg"
    assert tile.headers["etag"] == ETAG
    assert tile.headers["cache-control"] == "private, max-age=86400, immutable"
    assert not {"keep-alive", "set-cookie", "connection"} & set(tile.headers)
    assert "access-control-allow-origin" not in tile.headers
    target, headers = viewer.asked[-1]
    assert target == f"/iiif/{TILE_PATH}"
    assert headers["slide-path"] == PATH
    unchanged = api.get(f"{slide['iiif']}/{TILE_PATH}", headers={"if-none-match": ETAG})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_base_uri_leads_to_info_json(api: TestClient, viewer: ViewerStandIn) -> None:
    """303, as the Image API asks; `id` is the base URI under the host of the request."""
    slide = looked_at(api)
    answer = api.get(slide["iiif"], follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{slide['iiif']}/info.json")
    info = api.get(f"{slide['iiif']}/info.json").json()
    assert info["id"] == f"http://127.0.0.1:8000{slide['iiif']}"


@pytest.mark.parametrize("rest", ["full", "a/b/c", "full/max/0/default.jpg/more", "%2e%2e/slide"])
def test_what_is_no_image_is_not_passed_on(
    api: TestClient, viewer: ViewerStandIn, rest: str
) -> None:
    """404 by the API itself."""
    slide = looked_at(api)
    before = len(viewer.asked)
    assert api.get(f"{slide['iiif']}/{rest}").status_code == 404
    assert len(viewer.asked) == before


def test_a_slide_that_left_the_disk_is_gone(api: TestClient, viewer: ViewerStandIn) -> None:
    """410 with what to do, and without the place where it was."""
    slide = looked_at(api)
    viewer.slides.clear()
    answer = api.get(f"{slide['iiif']}/info.json")
    assert (answer.status_code, answer.json()["code"]) == (410, "slide_gone")
    assert answer.json()["hint"]
    assert PATH not in answer.text


def test_another_file_in_its_place_is_not_shown(api: TestClient, viewer: ViewerStandIn) -> None:
    """Of a slide that was looked at: 410, until it is looked at again."""
    slide = looked_at(api)
    viewer.slides[PATH] = FACTS | {"digest": "stat:1"}
    answer = api.get(f"{slide['iiif']}/{TILE_PATH}")
    assert (answer.status_code, answer.json()["code"]) == (410, "slide_gone")
    assert api.get(f"{looked_at(api)['iiif']}/{TILE_PATH}").content == TILE


def test_labels_are_not_shown_unless_that_is_configured(
    api: TestClient, viewer: ViewerStandIn
) -> None:
    """403 that names the setting, and the viewer is not asked."""
    slide = looked_at(api)
    before = len(viewer.asked)
    answer = api.get(f"/v1/slides/{slide['id']}/label.jpg")
    assert (answer.status_code, answer.json()["code"]) == (403, "labels_not_shown")
    assert "services.page.labels" in answer.json()["hint"]
    assert len(viewer.asked) == before


def test_labels_are_shown_where_that_is_configured(
    config: Config, announced: OrderStore, viewer: ViewerStandIn
) -> None:
    """`associated` names what there is, and each is passed on."""
    settings = load(**config.model_dump() | {"services": {"page": {"labels": True}}})
    app = create_app(settings, announced)
    with TestClient(app, base_url="http://127.0.0.1:8000", client=LOOPBACK) as api:
        slide = looked_at(api)
        assert slide["associated"] == ["label", "macro"]
        label = api.get(f"/v1/slides/{slide['id']}/label.jpg")
        assert (label.status_code, label.content) == (200, TILE)
        assert viewer.asked[-1][0] == "/associated/label.jpg"


def test_the_slide_of_an_order_is_shown_once_it_is_fetched(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore
) -> None:
    """409 before, its pixels after, and 410 once another file lies there, or none."""
    scan = {"id": "a:1", "source": {"type": "path", "path": PATH}}
    request = OrderRequest.model_validate({"algorithm": "ki67", "scans": (scan,)})
    order_id = announced.create(request, queue="gpu").order_id
    base = f"/v1/orders/{order_id}/scans/a:1/iiif"
    early = api.get(f"{base}/info.json")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    claim = announced.claim(f"{order_id}.0", "fetch", "courier")
    assert claim
    announced.finish(
        claim, "staged", {"slide": {"path": PATH, "digest": FACTS["digest"], "bytes": 7}}
    )
    answer = api.get(base, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{base}/info.json")
    assert api.get(f"{base}/info.json").json()["id"] == f"http://127.0.0.1:8000{base}"
    assert api.get(f"{base}/{TILE_PATH}").content == TILE
    viewer.slides[PATH] = FACTS | {"digest": "stat:1"}
    for rest in ("info.json", TILE_PATH):
        another = api.get(f"{base}/{rest}")
        assert (another.status_code, another.json()["code"]) == (410, "slide_gone")
    viewer.slides.clear()
    gone = api.get(f"{base}/{TILE_PATH}")
    assert (gone.status_code, gone.json()["code"]) == (410, "slide_gone")
    assert api.get(f"/v1/orders/{order_id}/scans/b/iiif/info.json").status_code == 404
