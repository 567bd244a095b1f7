"""Orders of slides that were looked at: they become orders of the source that was opened."""

import hashlib
import time
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.order_store.keys import Key
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.source import PathSource, UrlSource
from broker.settings.config import BrokerSettings, Config, load
from services.app import create_app
from tests.services.slides.conftest import PATH, looked_at
from tests.support.stack import wait_for
from tests.support.viewer_stand_in import FACTS, ViewerStandIn

URL = "https://bucket.example.org/S26-1.svs?X-Amz-Signature=f00dfeed"
Body = Callable[..., dict[str, Any]]


def _of(*slide_ids: str) -> list[dict[str, Any]]:
    return [
        {"id": str(number), "source": {"type": "slide", "slide": slide_id}}
        for number, slide_id in enumerate(slide_ids)
    ]


def test_an_order_takes_the_source_that_was_looked_at(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore, order_body: Body
) -> None:
    """Path and URL stand in the stored order, the URL's secret with it and in no answer."""
    on_disk = looked_at(api)
    fetched = looked_at(api, type="url", url=URL)
    body = order_body(scans=_of(on_disk["id"], fetched["id"]))
    answer = api.post("/v1/orders", json=body)
    assert answer.status_code == 202, answer.text
    assert "f00dfeed" not in answer.text
    request = announced.get(answer.json()["id"]).request
    first, second = (scan.source for scan in request.scans)
    assert first == PathSource(type="path", path=PATH)
    assert isinstance(second, UrlSource)
    assert second.addresses == (("url", URL),)


def test_the_order_is_the_same_when_its_slide_is_forgotten(
    api: TestClient, viewer: ViewerStandIn, broker_settings: BrokerSettings, order_body: Body
) -> None:
    """A repetition with the same Idempotency-Key is compared as it was sent."""
    slide = looked_at(api)
    body = order_body(scans=_of(slide["id"]))
    key = {"idempotency-key": "same"}
    first = api.post("/v1/orders", json=body, headers=key)
    RedisClient(RedisUrl.of(broker_settings)).records.delete(Key.SLIDE + slide["id"])
    again = api.post("/v1/orders", json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


def test_a_slide_that_changed_since_it_was_looked_at_is_refused(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore, order_body: Body
) -> None:
    """410 with the field, also where it is only checked; looked at again it can be ordered."""
    slide = looked_at(api)
    viewer.slides[PATH] = FACTS | {"digest": "stat:1"}
    body = order_body(scans=_of(slide["id"]))
    for address in ("/v1/orders", "/v1/orders?validate_only=true"):
        answer = api.post(address, json=body)
        assert (answer.status_code, answer.json()["code"]) == (410, "slide_gone")
        assert answer.json()["field"] == "scans[0].source.slide"
        assert PATH not in answer.text
    assert announced.find().entries == ()
    again = order_body(scans=_of(looked_at(api)["id"]))
    assert api.post("/v1/orders", json=again).status_code == 202


def test_a_slide_on_disk_is_ordered_without_the_viewer(
    api: TestClient, broker_settings: BrokerSettings, order_body: Body
) -> None:
    """Orders need none: whether the file has changed is then not known."""
    with ViewerStandIn(broker_settings.data) as viewer:
        viewer.slides = {PATH: FACTS}
        slide = looked_at(api)
    assert api.post("/v1/orders", json=order_body(scans=_of(slide["id"]))).status_code == 202


def test_a_slide_that_is_not_known_is_refused(
    api: TestClient, viewer: ViewerStandIn, order_body: Body
) -> None:
    """422 with the field and what to do."""
    slide = looked_at(api)
    answer = api.post("/v1/orders", json=order_body(scans=_of(slide["id"], "f" * 32)))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "slide_unknown")
    assert problem["field"] == "scans[1].source.slide"
    assert "POST /v1/slides" in problem["hint"]
    malformed = api.post("/v1/orders", json=order_body(scans=_of("../a")))
    assert malformed.json()["field"] == "scans[0].source.slide"


def test_a_slide_that_cannot_be_seen_is_refused(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore, order_body: Body
) -> None:
    """With the problem that it failed with, at the field of the slide."""
    slide = looked_at(api, type="url", url=URL)
    claim = announced.viewed_slides.claim(slide["id"], "courier")
    assert claim
    announced.viewed_slides.finish(claim, {"path": "/slides/notes.svs"})
    assert api.get(f"/v1/slides/{slide['id']}").json()["state"] == "failed"
    problem = api.post("/v1/orders", json=order_body(scans=_of(slide["id"]))).json()
    assert (problem["code"], problem["field"]) == ("not_a_slide", "scans[0].source.slide")


def test_the_url_of_a_slide_that_was_looked_at_may_expire(
    api: TestClient, viewer: ViewerStandIn, announced: OrderStore, order_body: Body
) -> None:
    """The order is taken, and says where the slide is in the cache; the URL alone is refused."""
    in_s = 3
    url = f"https://bucket.example.org/a.svs?Expires={int(time.time()) + in_s}&Signature=f00d"
    slide = looked_at(api, type="url", url=url)
    place = {"path": PATH, "digest": "0" * 64, "bytes": 7}
    claim = announced.viewed_slides.claim(slide["id"], "courier")
    assert claim
    announced.viewed_slides.finish(claim, place)
    direct = order_body(scans=[{"id": "1", "source": {"type": "url", "url": url}}])

    def has_expired() -> bool:
        return bool(api.post("/v1/orders", json=direct).status_code == 410)

    wait_for(has_expired, within_s=60, what="the end of the URL")
    answer = api.post("/v1/orders", json=order_body(scans=_of(slide["id"])))
    assert answer.status_code == 202, answer.text
    (scan,) = announced.get(answer.json()["id"]).scans
    assert scan.looked_at == place
    assert PATH not in answer.text


def test_a_caller_of_own_orders_has_own_slides(
    config: Config, announced: OrderStore, viewer: ViewerStandIn, order_body: Body
) -> None:
    """Another caller's slide is not found, and cannot be ordered; nor are folders shown."""
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "own_orders_only": True}
        for name in ("guest", "lab")
    ]
    settings = load(**config.model_dump() | {"services": {"keys": keys}})
    guest = {"authorization": "Bearer guest"}
    with TestClient(create_app(settings, announced), headers={"x-api-key": "lab"}) as api:
        slide = looked_at(api)
        assert api.get(f"{slide['iiif']}/info.json").status_code == 200
        assert api.get(f"/v1/slides/{slide['id']}", headers=guest).status_code == 404
        assert api.get(f"{slide['iiif']}/info.json", headers=guest).status_code == 404
        body = order_body(scans=_of(slide["id"]))
        refused = api.post("/v1/orders", json=body, headers=guest)
        assert refused.json()["code"] == "slide_unknown"
        assert api.post("/v1/orders", json=body).status_code == 202
        asked = len(viewer.asked)
        named = {"source": {"type": "path", "root": 0, "path": "ward-7/a.svs"}}
        for refused in (
            api.get("/v1/slides"),
            api.get("/v1/slides?root=0&path=ward-7"),
            api.post("/v1/slides", json=named),
        ):
            assert (refused.status_code, refused.json()["code"]) == (403, "key_refused")
            assert refused.json()["hint"]
        assert len(viewer.asked) == asked
