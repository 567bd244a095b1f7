"""Destinations that an order names: looked up in the settings, shown by name, never changed."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from tests.services.conftest import LOOPBACK

OrderBody = Callable[..., dict[str, Any]]
SECRET = "s3cret-of-the-lab"
DESTINATIONS = {
    "lab": {
        "type": "techcyte",
        "host": "ci.techcyte.com",
        "api_key_id": "slidelane",
        "api_key_secret": SECRET,
    },
    "loader": {"type": "annotation", "url": "https://loader.example/submitZipOrder?key=S3CRET"},
    "inbox": {"type": "webhook", "url": "https://in.example/", "secret": "whsec_" + "c2Vj" * 8},
}


def client(config: Config, store: OrderStore, destinations: dict[str, Any]) -> TestClient:
    settings = load(**config.model_dump() | {"services": {"destinations": destinations}})
    return TestClient(
        create_app(settings, store), base_url="http://127.0.0.1:8000", client=LOOPBACK
    )


@pytest.fixture
def naming(config: Config, announced: OrderStore) -> TestClient:
    """An API whose settings name three destinations."""
    return client(config, announced, DESTINATIONS)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("inbox", {"name": "inbox", "type": "webhook", "url": "https://in.example/"}),
        ({"name": "inbox"}, {"name": "inbox", "type": "webhook", "url": "https://in.example/"}),
        (
            {"name": "lab", "task_id": "MQ=="},
            {
                "name": "lab",
                "type": "techcyte",
                "host": "ci.techcyte.com",
                "task_id": "MQ==",
                "api_key_id": "slidelane",
            },
        ),
        (
            {"name": "loader", "case_id": "S26-1"},
            {
                "name": "loader",
                "type": "annotation",
                "url": "https://loader.example/submitZipOrder?…",
                "case_id": "S26-1",
            },
        ),
    ],
)
def test_an_order_names_its_destination(
    naming: TestClient, order_body: OrderBody, given: Any, shown: dict[str, Any]
) -> None:
    """By its name alone, or with the fields that the settings lack; shown without a secret."""
    answer = naming.post("/v1/orders", json=order_body(destination=given))
    assert answer.status_code == 202, answer.text
    assert answer.json()["destination"] == shown
    again = naming.get(f"/v1/orders/{answer.json()['id']}")
    assert again.json()["destination"] == shown


def test_the_record_has_the_credentials_and_the_address(
    naming: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """The courier gets the destination whole; it needs no settings for it."""
    body = order_body(destination={"name": "lab", "task_id": "MQ=="})
    order = announced.get(naming.post("/v1/orders", json=body).json()["id"])
    destination: Any = order.request.resolved_destination
    assert (destination.host, destination.task_id) == ("ci.techcyte.com", "MQ==")
    assert destination.api_key_secret.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ("clinic", "destination", "no destination 'clinic' there are: inbox, lab, loader"),
        ({"name": "clinic"}, "destination", "there are: inbox, lab, loader"),
        ({"name": "loader"}, "destination.case_id", 'send {"name": "loader", "case_id": …}'),
        ("loader", "destination.case_id", 'send {"name": "loader", "case_id": …}'),
        ({"name": "loader", "case_id": "a/b"}, "destination.case_id", "pattern"),
        ({"name": "loader", "case_id": "1", "colour": "red"}, "destination.colour", "remove it"),
        ({"name": 7}, "destination.name", "string"),
        ({"name": "lab", "task_id": "1", "type": "techcyte"}, "destination.type", "remove it"),
        ({"name": "lab", "task_id": "1", "host": "x.example"}, "destination.host", "'lab'"),
        (
            {"name": "lab", "task_id": "1", "base_url": "https://x.example"},
            "destination.base_url",
            "remove it",
        ),
        (
            {"name": "lab", "task_id": "1", "api_key_secret": "mine"},
            "destination.api_key_secret",
            "remove it",
        ),
        ("", "destination", "at least 1"),
        (7, "destination", "object"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    naming: TestClient, order_body: OrderBody, given: Any, field: str, words: str
) -> None:
    """422 with the field and what to do. Another address would get the credentials."""
    answer = naming.post("/v1/orders", json=order_body(destination=given))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request_invalid")
    assert problem["field"] == field
    text = f"{problem['detail']} {problem.get('hint', '')}"
    assert words in text
    assert SECRET not in answer.text
    assert "mine" not in text


def test_a_token_in_place_of_a_name_is_not_repeated(api: TestClient, order_body: OrderBody) -> None:
    """Where nothing is named the answer says so."""
    answer = api.post("/v1/orders", json=order_body(destination="eyJhbGciOi.J9.s3cret"))
    assert answer.status_code == 422
    assert "s3cret" not in answer.text
    assert "services.destinations names none" in answer.json()["hint"]


def test_a_repetition_is_known_when_the_name_is_gone(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """The same key and body: the first order, whatever the settings say by now."""
    body = order_body(destination="inbox")
    headers = {"Idempotency-Key": "one"}
    first = client(config, announced, DESTINATIONS).post("/v1/orders", json=body, headers=headers)
    again = client(config, announced, {}).post("/v1/orders", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]


def test_each_order_of_a_batch_may_name_one(naming: TestClient, order_body: OrderBody) -> None:
    """The one with an unknown name is refused, and the other is placed."""
    bodies = [order_body(destination=name) for name in ("inbox", "clinic")]
    entries = naming.post("/v1/orders", json=bodies).json()
    assert [entry["status"] for entry in entries] == [202, 422]
    assert entries[0]["order"]["destination"]["name"] == "inbox"


def test_an_order_is_delivered_again_to_a_name(
    naming: TestClient, order_body: OrderBody, announced: OrderStore
) -> None:
    """The body of `…/deliver` takes a name as an order does."""
    order_id = naming.post("/v1/orders", json=order_body(destination="inbox")).json()["id"]
    classify(announced, order_id)
    path = f"/v1/orders/{order_id}"
    naming.post(f"{path}/cancel")
    refused = naming.post(f"{path}/deliver", json={"destination": "clinic"})
    assert refused.json()["hint"] == "there are: inbox, lab, loader"
    named = {"name": "loader", "case_id": "S26-1"}
    answer = naming.post(f"{path}/deliver", json={"destination": named})
    assert answer.status_code == 202, answer.text
    assert answer.json()["destination"]["name"] == "loader"
    whole = {"type": "annotation", "url": "https://loader.example/", "case_id": "7"}
    naming.post(f"{path}/cancel")
    answer = naming.post(f"{path}/deliver", json={"destination": whole})
    assert answer.json()["destination"] == whole


def classify(store: OrderStore, order_id: str) -> None:
    """Take the only scan of the order to its end."""
    for stage, state in (("fetch", "staged"), ("classify", "classified")):
        claim = store.claim(f"{order_id}.0", stage, "w")  # type: ignore[arg-type]
        assert claim
        store.finish(claim, state)


def test_the_schema_takes_the_names_that_the_api_takes(
    naming: TestClient, order_body: OrderBody
) -> None:
    """Clients that check before they send may send a name, alone or with fields."""
    document = naming.get("/openapi.json").json()
    order = {"$ref": "#/components/schemas/OrderRequest", "components": document["components"]}
    for given in ("inbox", {"name": "loader", "case_id": "7"}, {"type": "none"}):
        assert Draft202012Validator(order).is_valid(order_body(destination=given))
    for given in ("", 7, {"case_id": "7"}):
        assert not Draft202012Validator(order).is_valid(order_body(destination=given))
