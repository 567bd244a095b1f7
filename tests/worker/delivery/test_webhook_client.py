"""A signed call to an address, as the receivers' own library checks it."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook

from broker.orders.destinations import WebhookDestination
from demo.http_server import Answer, Request
from tests.support.destinations import a_destination
from tests.support.results import a_result
from tests.support.webhooks import OLD_SECRET, SECRET, WebhookReceiver
from worker.delivery.payload import Payload, Receipt
from worker.results.result import FailedScan

LOGIN_PAGE = "<!DOCTYPE html><html><title>Sign in</title></html>"


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        yield server


def called(receiver: WebhookReceiver, tmp_path: Path, **fields: Any) -> tuple[Receipt, Payload]:
    """Call the receiver once."""
    given = {"type": "webhook", "url": f"{receiver.url}/hook", "secret": SECRET} | fields
    destination = a_destination(**given)
    payload = destination.build_payload(
        [a_result()], tmp_path / "payload", [FailedScan("7", "not_a_slide", "a text")]
    )
    return destination.post(payload), payload


def checked(secret: str, request: Request) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return dict(Webhook(secret).verify(request.body, headers))


def test_the_receivers_own_check_accepts_it(receiver: WebhookReceiver, tmp_path: Path) -> None:
    """Signature and time are right, and the event says what there is and where."""
    receipt, _ = called(receiver, tmp_path)
    assert (receipt.outcome, receipt.status) == ("accepted", 204)
    event = checked(SECRET, receiver.calls[0])
    assert event["type"] == "order.delivered"
    data = event["data"]
    assert (data["id"], data["labels"], data["state"]) == ("ord-1", {"case": "S26-1"}, "delivered")
    (scan,) = data["scans"]
    assert scan["summary"]["nuclei"] == 9
    assert scan["links"]["overlay.png"] == "/v1/orders/ord-1/scans/8946136/overlay.png"
    assert data["failed_scans"] == [{"id": "7", "code": "not_a_slide", "detail": "a text"}]


def test_a_repetition_has_the_same_id_and_body_and_its_own_time(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """By the id it is recognised; with the first time it would be refused after five minutes."""
    called(receiver, tmp_path)
    called(receiver, tmp_path)
    first, second = receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert "." not in first.headers["webhook-id"]
    assert first.body == second.body
    assert abs(int(second.headers["webhook-timestamp"]) - time.time()) < 60


def test_a_receiver_that_changes_its_secret_can_use_either(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """Both secrets sign, with a blank between the signatures."""
    called(receiver, tmp_path, secret=f"{SECRET} {OLD_SECRET}")
    for secret in (SECRET, OLD_SECRET):
        assert checked(secret, receiver.calls[0])["type"] == "order.delivered"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(200, "ok"), "accepted"),
        (Answer(200, LOGIN_PAGE), "later"),
        (Answer(302, headers={"location": "/login"}), "later"),
        (Answer(404), "later"),
        (Answer(502), "later"),
        (Answer(429, headers={"retry-after": "7"}), "later"),
        (Answer(410), "refused"),
    ],
)
def test_what_an_answer_means(
    receiver: WebhookReceiver, tmp_path: Path, answer: Answer, outcome: str
) -> None:
    """Any 2xx is a yes, unless it is a page of a proxy; 410 is a no for ever; else once more."""
    receiver.answer = answer
    receipt, _ = called(receiver, tmp_path)
    assert receipt.outcome == outcome
    if answer.status == 429:
        assert receipt.retry_after_s == 7


def test_no_answer_is_asked_for_again(receiver: WebhookReceiver, tmp_path: Path) -> None:
    """A receiver that cannot be reached may be there later."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        receiver.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        receipt, _ = called(receiver, tmp_path)
    assert receipt.outcome == "later"


def test_a_long_event_leaves_summaries_out(tmp_path: Path) -> None:
    """20 kB at most; the links, and at last the ids of the scans, stay."""
    destination = a_destination(type="webhook", url="https://lab.example/hook", secret=SECRET)
    long = {"text": "x" * 30_000}
    payload = destination.build_payload([a_result(summary=long)], tmp_path / "long")
    (scan,) = json.loads(payload.path.read_bytes())["data"]["scans"]
    assert set(scan) == {"id", "links"}
    many = [a_result(summary=long, scan_id=str(number)) for number in range(64)]
    payload = destination.build_payload(many, tmp_path / "many")
    assert payload.path.stat().st_size <= 20_000
    assert len(json.loads(payload.path.read_bytes())["data"]["scans"]) == 64


@pytest.mark.parametrize(
    "secret",
    ["whsec_", "whsec_!!", f"whsec_{base64.b64encode(bytes(16)).decode()}", "", "plain text"],
)
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """With the order, and without being repeated."""
    fields = {"type": "webhook", "url": "https://lab.example/hook", "secret": secret}
    with pytest.raises(ValidationError) as error:
        WebhookDestination.model_validate(fields)
    assert not secret or secret not in str(error.value)
