"""What orders may say of viewers, of importers, and of webhooks that are told how they end."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, ConfigError, load
from services.app import create_app
from tests.services.conftest import LOOPBACK

OrderBody = Callable[..., dict[str, Any]]
SECRET = "whsec_" + "c2Vj" * 8
VIEWER = {"type": "camicroscope", "url": "https://viewer.example", "slide": "5f9a"}
LOADER = {"type": "annotation", "url": "https://loader.example/submitZipOrder", "case_id": "1"}
HOOK = {"type": "webhook", "url": "https://in.example/", "secret": SECRET}
DESTINATIONS = {
    "viewer": {"type": "camicroscope", "url": "https://viewer.example", "token": "t0ken"},
    "inbox": HOOK | {"events": "order.failed order.expired"},
}


def client(config: Config, store: OrderStore, services: dict[str, Any]) -> TestClient:
    settings = load(**config.model_dump() | {"services": services})
    return TestClient(
        create_app(settings, store), base_url="http://127.0.0.1:8000", client=LOOPBACK
    )


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"destination": VIEWER | {"slide": "a<b"}}, "request_invalid", "destination.slide"),
        (
            {"destination": VIEWER | {"execution_id": "a\nb"}},
            "request_invalid",
            "destination.execution_id",
        ),
        (
            {"destination": VIEWER | {"url": "https://viewer.example/?a=b"}},
            "request_invalid",
            "destination.url",
        ),
        (
            {"destination": VIEWER | {"url": "http://10.0.0.1"}},
            "host_not_allowed",
            "destination.url",
        ),
        ({"destination": VIEWER | {"replace": "1"}}, "request_invalid", "destination.replace"),
        (
            {"destination": LOADER | {"confirm_url": "https://loader.example/job/7"}},
            "request_invalid",
            "destination.confirm_url",
        ),
        (
            {"destination": LOADER | {"confirm_url": "https://{id}.example/job"}},
            "request_invalid",
            "destination.confirm_url",
        ),
        (
            {"destination": LOADER | {"confirm_url": "http://10.0.0.1/job/{id}"}},
            "host_not_allowed",
            "destination.confirm_url",
        ),
        (
            {"destination": LOADER | {"subject_id": "a/b"}},
            "request_invalid",
            "destination.subject_id",
        ),
        ({"notify": VIEWER}, "request_invalid", "notify.type"),
        ({"notify": {"url": HOOK["url"]}}, "request_invalid", "notify.type"),
        ({"notify": HOOK | {"secret": "S3CRET"}}, "request_invalid", "notify.secret"),
        ({"notify": HOOK | {"events": []}}, "request_invalid", "notify.events"),
        ({"notify": HOOK | {"events": ["order.begun"]}}, "request_invalid", "notify.events[0]"),
        ({"notify": HOOK | {"url": "http://10.0.0.1/"}}, "host_not_allowed", "notify.url"),
        ({"notify": "viewer"}, "request_invalid", "notify.slide"),
        ({"notify": {"name": "viewer", "slide": "1"}}, "request_invalid", "notify"),
        ({"notify": "clinic"}, "request_invalid", "notify"),
    ],
)
def test_what_cannot_be_delivered_is_refused(
    config: Config,
    announced: OrderStore,
    order_body: OrderBody,
    fields: dict[str, Any],
    code: str,
    field: str,
) -> None:
    """With the field that is wrong, and no secret in the answer."""
    api = client(config, announced, {"destinations": DESTINATIONS})
    answer = api.post("/v1/orders", json=order_body(**fields))
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["field"] == field
    assert "S3CRET" not in answer.text
    assert "t0ken" not in answer.text


def test_a_viewer_of_the_settings_gets_what_an_order_adds(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """Slide, run and whether earlier runs go; the token stays hidden."""
    api = client(config, announced, {"destinations": DESTINATIONS})
    given = {"name": "viewer", "slide": "5f9a", "execution_id": "run 1", "replace": True}
    order = api.post("/v1/orders", json=order_body(destination=given)).json()
    assert order["destination"] == given | {"type": "camicroscope", "url": "https://viewer.example"}
    stored: Any = announced.get(order["id"]).request.resolved_destination
    assert (stored.token.get_secret_value(), stored.replace) == ("t0ken", True)


def test_a_webhook_of_the_settings_is_told_of_its_events(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """By name in the order, or for every order that names no other; shown without the secret."""
    api = client(config, announced, {"destinations": DESTINATIONS})
    order = api.post("/v1/orders", json=order_body(notify="inbox")).json()
    shown = {"type": "webhook", "url": "https://in.example/"}
    assert order["notify"] == shown | {"events": ["order.failed", "order.expired"]}
    assert "notify" not in api.post("/v1/orders", json=order_body()).json()
    api = client(config, announced, {"destinations": DESTINATIONS, "notify": "inbox"})
    order = api.post("/v1/orders", json=order_body()).json()
    assert order["notify"] == shown | {"events": ["order.failed", "order.expired"]}
    request = announced.get(order["id"]).request
    assert request.notified
    assert request.notified[0].secret.get_secret_value() == SECRET
    own = HOOK | {"url": "https://other.example/"}
    order = api.post("/v1/orders", json=order_body(notify=own)).json()
    assert order["notify"]["url"] == "https://other.example/"


def test_a_webhook_that_is_gone_is_called_again_when_somebody_asks(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """With the same destination or a new one; a refused request changes nothing."""
    api = client(config, announced, {"destinations": DESTINATIONS})
    body = order_body(destination=HOOK)
    order_id = api.post("/v1/orders", json=body).json()["id"]
    announced.mark_gone(HOOK["url"])
    path = f"/v1/orders/{order_id}/deliver"
    assert api.post(path, json={"destination": HOOK}).status_code == 409
    assert announced.is_gone(HOOK["url"])
    claim = announced.claim(f"{order_id}.0", "fetch", "w")
    assert claim
    announced.finish(claim, "staged")
    claim = announced.claim(f"{order_id}.0", "classify", "w")
    assert claim
    announced.finish(claim, "classified", {"result": "results/x"})
    api.post(f"/v1/orders/{order_id}/cancel")
    assert api.post(path).status_code == 202
    assert not announced.is_gone(HOOK["url"])
    announced.mark_gone(HOOK["url"])
    api.post(f"/v1/orders/{order_id}/cancel")
    assert api.post(path, json={"destination": HOOK}).status_code == 202
    assert not announced.is_gone(HOOK["url"])


@pytest.mark.parametrize(
    "services",
    [
        {"notify": "inbox"},
        {"notify": "viewer", "destinations": DESTINATIONS},
        {"notify": "inbox", "destinations": {"inbox": {"type": "webhook", "url": HOOK["url"]}}},
    ],
)
def test_who_is_told_of_every_end_must_be_a_whole_webhook(services: dict[str, Any]) -> None:
    """Else the start stops: no order could say what is missing."""
    with pytest.raises(ConfigError, match=r"services: .*services\.notify"):
        load(services=services)


def test_confirm_url_of_the_settings_must_be_allowed() -> None:
    """As every address that is connected to."""
    loader = {name: value for name, value in LOADER.items() if name != "case_id"}
    loader["confirm_url"] = "http://10.0.0.1:3000/job/{id}"
    with pytest.raises(ConfigError, match=r"destinations\.loader\.confirm_url: .*private"):
        load(services={"destinations": {"loader": loader}})
