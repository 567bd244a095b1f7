"""Looking at slides before ordering: which sources are taken, what is shown, who may."""

import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.order_store.keys import Key
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import BrokerSettings, Config, load
from services.app import create_app
from tests.services.slides.conftest import PATH, looked_at
from tests.support.viewer_stand_in import FACTS, ViewerStandIn

CLERK = {"authorization": "Bearer order-key-1"}
READER = {"authorization": "Bearer read-key-2"}
URL = "https://bucket.example.org/S26-1.svs?X-Amz-Signature=f00dfeed"


def test_a_slide_on_disk_is_opened_at_once(api: TestClient, viewer: ViewerStandIn) -> None:
    """The answer says size, resolution and where its pixels are, and no path."""
    answer = api.post("/v1/slides", json={"source": {"type": "path", "path": PATH}})
    assert answer.status_code == 201
    slide = answer.json()
    assert answer.headers["location"] == f"/v1/slides/{slide['id']}"
    assert len(slide["id"]) == 32
    assert slide["state"] == "ready"
    assert (slide["width"], slide["height"]) == (60_000, 48_000)
    assert (slide["mpp_x"], slide["mpp_source"], slide["vendor"]) == (0.25, "slide", "aperio")
    assert slide["levels"] == FACTS["levels"]
    assert slide["iiif"] == f"/v1/slides/{slide['id']}/iiif"
    assert slide["name"] == "a.svs"
    assert slide["associated"] == []
    assert "ward-7" not in answer.text
    assert api.get(answer.headers["location"]).json() == slide


def test_a_slide_is_named_below_a_root_as_its_list_does(
    api: TestClient, viewer: ViewerStandIn
) -> None:
    """`root` is the number of a folder, and the path is below it."""
    slide = looked_at(api, type="path", root=0, path="ward-7/a.svs")
    assert slide["state"] == "ready"
    _, headers = viewer.asked[-1]
    assert headers["slide-path"] == PATH


@pytest.mark.parametrize(
    ("source", "code", "field"),
    [
        ({"type": "path", "root": 7, "path": "a.svs"}, "path_not_allowed", "source.root"),
        ({"type": "path", "root": 0, "path": "../a.svs"}, "path_not_allowed", "source.path"),
        ({"type": "path", "root": 0, "path": "/slides/a.svs"}, "path_not_allowed", "source.path"),
        ({"type": "path", "root": 0, "path": "a/" * 2048}, "path_not_allowed", "source.path"),
        ({"type": "path", "root": 0, "path": "a" * 4096}, "path_not_allowed", "source.path"),
        ({"type": "path", "path": "/etc/passwd"}, "path_not_allowed", "source.path"),
        ({"type": "path", "path": "/slides/notes.svs"}, "not_a_slide", "source.path"),
        ({"type": "path", "root": -1, "path": "a.svs"}, "request_invalid", "source.root"),
        ({"type": "url", "url": "ftp://a.example.org/a.svs"}, "request_invalid", "source.url"),
        ({"type": "url", "url": "http://10.0.0.7/a.svs"}, "host_not_allowed", "source.url"),
        ({"type": "case", "case_id": "S26-1"}, "request_invalid", "source.type"),
        ({"type": "carrier pigeon"}, "request_invalid", "source"),
        ({"type": "slide", "slide": "0" * 32}, "not_found", None),
    ],
)
def test_a_source_that_cannot_be_looked_at_is_refused(
    api: TestClient, viewer: ViewerStandIn, source: dict[str, Any], code: str, field: str | None
) -> None:
    """Refused like the same source of an order, with the field; nothing is stored."""
    answer = api.post("/v1/slides", json={"source": source})
    assert 400 <= answer.status_code < 500
    problem = answer.json()
    assert (problem["code"], problem.get("field")) == (code, field)
    assert problem["detail"]


def test_without_the_viewer_looking_says_so(api: TestClient) -> None:
    """503 with a hint and a time to wait; no slide is stored."""
    answer = api.post("/v1/slides", json={"source": {"type": "path", "path": PATH}})
    assert (answer.status_code, answer.json()["code"]) == (503, "viewer_unavailable")
    assert answer.json()["hint"]
    assert int(answer.headers["retry-after"]) >= 1


def test_a_url_is_fetched_first(
    api: TestClient,
    viewer: ViewerStandIn,
    announced: OrderStore,
    broker_settings: BrokerSettings,
) -> None:
    """202 and `fetching`; once a courier has fetched it, the viewer opens it."""
    answer = api.post("/v1/slides", json={"source": {"type": "url", "url": URL}})
    assert answer.status_code == 202
    slide = answer.json()
    assert (slide["state"], slide["width"], slide["name"]) == ("fetching", None, "S26-1.svs")
    assert "f00dfeed" not in answer.text
    slides = announced.viewed_slides
    claim = slides.claim(slide["id"], "courier")
    assert claim
    slides.renew(claim, {"stage": "fetching", "done": 3, "total": 9})
    shown = api.get(f"/v1/slides/{slide['id']}").json()
    assert (shown["state"], shown["progress"]) == ("fetching", {"done": 3, "total": 9})
    tile = api.get(f"{slide['iiif']}/info.json")
    assert (tile.status_code, tile.json()["code"]) == (409, "not_ready")
    slides.finish(claim, {"path": PATH})
    shown = api.get(f"/v1/slides/{slide['id']}").json()
    assert (shown["state"], shown["width"]) == ("ready", 60_000)
    asked = len(viewer.asked)
    api.get(f"/v1/slides/{slide['id']}")
    assert len(viewer.asked) == asked


def test_a_fetched_file_that_is_no_slide_has_failed(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore
) -> None:
    """`failed` with the problem, which the pixels then answer too, and no path in it."""
    slide = looked_at(api, type="url", url=URL)
    claim = announced.viewed_slides.claim(slide["id"], "courier")
    assert claim
    announced.viewed_slides.finish(claim, {"path": "/slides/notes.svs"})
    shown = api.get(f"/v1/slides/{slide['id']}").json()
    assert shown["state"] == "failed"
    assert shown["problem"]["code"] == "not_a_slide"
    assert shown["problem"]["detail"] == "the slide is not a slide"
    tile = api.get(f"{slide['iiif']}/full/max/0/default.jpg")
    assert (tile.status_code, tile.json()["code"]) == (422, "not_a_slide")


def test_the_locators_resolution_counts_where_the_slide_says_none(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore
) -> None:
    """As for an order: the slide's own word first, then the locator's."""
    viewer.slides[PATH] = FACTS | {"mpp_x": None, "mpp_y": None, "mpp_source": "none"}
    slide = looked_at(api, type="url", url=URL)
    claim = announced.viewed_slides.claim(slide["id"], "courier")
    assert claim
    announced.viewed_slides.finish(claim, {"path": PATH, "mpp": 0.5})
    shown = api.get(f"/v1/slides/{slide['id']}").json()
    assert (shown["mpp_x"], shown["mpp_source"]) == (0.5, "locator")


def test_nothing_of_the_source_is_readable_in_redis(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore, broker_settings: BrokerSettings
) -> None:
    """A key seals source, name and place; the record is forgotten 24 h after its last use."""
    slide = looked_at(api)
    records = RedisClient(RedisUrl.of(broker_settings)).records
    key = Key.SLIDE + slide["id"]
    assert 86_000 < records.ttl(key) <= 86_400
    records.expire(key, 60)
    api.get(f"/v1/slides/{slide['id']}")
    assert records.ttl(key) > 86_000
    records.delete(key)
    gone = api.get(f"/v1/slides/{slide['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert gone.json()["hint"]


def test_a_slide_is_forgotten_by_who_may_look(
    keyed: TestClient, viewer: ViewerStandIn, announced: OrderStore
) -> None:
    """204, and its fetch has ended; what only reads may not."""
    body = {"source": {"type": "url", "url": URL}}
    address = keyed.post("/v1/slides", json=body, headers=CLERK).headers["location"]
    claim = announced.viewed_slides.claim(address.rpartition("/")[2], "courier")
    assert claim
    assert keyed.delete(address).status_code == 401
    assert keyed.delete(address, headers=READER).status_code == 403
    assert keyed.delete(address, headers=CLERK).status_code == 204
    assert announced.viewed_slides.check_lease(claim) == "lost"
    again = keyed.delete(address, headers=CLERK)
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


def test_a_key_fetches_as_many_slides_as_it_may_have_waiting(
    config: Config, announced: OrderStore
) -> None:
    """`max_waiting` of the key holds for slides too: looking is no way around it."""
    key = {"name": "lab", "sha256": hashlib.sha256(b"lab").hexdigest(), "max_waiting": 1}
    settings = load(**config.model_dump() | {"services": {"keys": [key]}})
    body = {"source": {"type": "url", "url": URL}}
    with TestClient(create_app(settings, announced), headers={"x-api-key": "lab"}) as api:
        assert api.post("/v1/slides", json=body).status_code == 202
        refused = api.post("/v1/slides", json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_waiting")
    assert "DELETE /v1/slides" in refused.json()["hint"]


def test_readers_look_and_only_those_who_order_begin(
    keyed: TestClient, viewer: ViewerStandIn
) -> None:
    """`POST` needs the scope `order`; `GET` and the list are answered to `read`."""
    body = {"source": {"type": "path", "path": PATH}}
    refused = keyed.post("/v1/slides", json=body, headers=READER)
    assert (refused.status_code, refused.json()["code"]) == (403, "key_refused")
    assert keyed.post("/v1/slides", json=body).status_code == 401
    slide = keyed.post("/v1/slides", json=body, headers=CLERK).json()
    assert keyed.get(f"/v1/slides/{slide['id']}", headers=READER).status_code == 200
    assert keyed.get(f"/v1/slides/{slide['id']}").status_code == 401
    assert keyed.get("/v1/slides", headers=READER).status_code == 200
    assert keyed.get("/v1/slides").status_code == 401
    assert keyed.get(f"{slide['iiif']}/info.json").status_code == 401
