"""Webhooks that are told how an order ended, whatever its destination is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from demo.http_server import Answer, Request
from tests.support.courier import Courier
from tests.support.stack import wait_for
from tests.support.webhooks import OLD_SECRET, SECRET, WebhookReceiver
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.notices import Notifier
from worker.http_session import session


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        yield server


@pytest.fixture
def notifier(courier: Courier) -> Notifier:
    return a_notifier(courier)


def a_notifier(courier: Courier) -> Notifier:
    http = session(["127.0.0.1"], connect_timeout_s=1, read_timeout_s=1, encrypted_only=True)
    return Notifier(courier.store, http, CircuitBreakers(2), courier.deliver)


def hook(receiver: WebhookReceiver, *events: str, secret: str = SECRET) -> dict[str, Any]:
    given = {"type": "webhook", "url": f"{receiver.url}/hook", "secret": secret}
    if events:
        return given | {"events": events}
    return given


def placed(store: OrderStore, **fields: Any) -> str:
    """Return the id of a queued order."""
    scans = [{"id": "1", "source": {"type": "path", "path": "/a.svs"}}]
    body = {"algorithm": "ki67", "scans": scans, "labels": {"case": "S26-1"}} | fields
    request = OrderRequest.model_validate(body, strict=False)
    return store.create(request, queue="gpu").order_id


def failed(courier: Courier, **fields: Any) -> str:
    """Return the id of an order whose only scan failed."""
    order_id = placed(courier.store, **fields)
    problem = Problem("not_a_slide", "it is a text file", "send a slide")
    courier.store.finish(courier.claimed(f"{order_id}.0", "fetch"), "failed", problem=problem)
    return order_id


def event_of(request: Request, secret: str = SECRET) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return dict(Webhook(secret).verify(request.body, headers))


def test_a_failed_order_is_told_once(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """With the reason of the order and of its scan, signed like any call."""
    order_id = failed(courier, notify=hook(receiver))
    assert notifier.call_next()
    assert not notifier.call_next()
    (call,) = receiver.calls
    event = event_of(call)
    assert (event["type"], call.headers["webhook-id"]) == (
        "order.failed",
        f"{order_id}_order_failed",
    )
    data = event["data"]
    assert (data["id"], data["labels"], data["state"]) == (order_id, {"case": "S26-1"}, "failed")
    assert data["error"]["code"] == "scan_failed"
    (scan,) = data["scans"]
    assert (scan["id"], scan["state"], scan["error"]["code"]) == ("1", "failed", "not_a_slide")
    assert "the webhook was told order.failed" in courier.log(order_id)


def test_cancelled_expired_and_undelivered_orders_are_told(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """Each by its own event."""
    cancelled = placed(courier.store, notify=hook(receiver))
    courier.store.cancel(cancelled)
    expired = placed(courier.store, notify=hook(receiver), expires_at="2026-01-01T00:00:00Z")
    courier.store.due()
    with WebhookReceiver() as destination:
        destination.answer = Answer(410)
        order_id = courier.to_deliver(hook(destination), notify=hook(receiver))
        assert courier.deliver_until_it_ends(order_id).state == "undelivered"
    while notifier.call_next():
        pass
    told = {
        call.headers["webhook-id"]: event_of(call)["data"]["error"]["code"]
        for call in receiver.calls
    }
    assert told == {
        f"{cancelled}_order_cancelled": "cancelled",
        f"{expired}_order_expired": "expired",
        f"{order_id}_order_undelivered": "destination_refused",
    }


def test_only_the_events_that_are_asked_for_are_told(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """A webhook that is the destination names the ends beside its results."""
    order_id = failed(courier, destination=hook(receiver, "order.failed"))
    failed(courier, destination=hook(receiver))
    courier.store.cancel(placed(courier.store, notify=hook(receiver, "order.failed")))
    while notifier.call_next():
        pass
    assert [call.headers["webhook-id"] for call in receiver.calls] == [f"{order_id}_order_failed"]


def test_a_delivered_order_is_told_with_its_summary(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """Beside the delivery to another destination."""
    order_id = placed(courier.store, notify=hook(receiver, "order.delivered"))
    work = f"{order_id}.0"
    courier.store.finish(courier.claimed(work, "fetch"), "staged")
    fields = {"result": "results/1", "summary": {"nuclei": 9}}
    courier.store.finish(courier.claimed(work, "classify"), "classified", fields)
    courier.store.finish(courier.claimed(order_id), "delivered")
    assert notifier.call_next()
    event = event_of(receiver.calls[0])
    (scan,) = event["data"]["scans"]
    assert (event["type"], scan["summary"]) == ("order.delivered", {"nuclei": 9})
    assert scan["links"]["overlay.png"] == f"/v1/orders/{order_id}/scans/1/overlay.png"


def test_an_end_that_comes_again_is_told_once(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """The message of order and event has one id, so a second one would be dropped anyway."""
    order_id = failed(courier, notify=hook(receiver))
    assert notifier.call_next()
    courier.store.retry(order_id)
    problem = Problem("not_a_slide", "it is a text file")
    courier.store.finish(courier.claimed(f"{order_id}.0", "fetch"), "failed", problem=problem)
    assert not notifier.call_next()
    assert len(receiver.calls) == 1


def test_a_call_that_fails_is_made_again_with_the_same_id(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """After the pause that the receiver asks for, also by another courier."""
    order_id = failed(courier, notify=hook(receiver))
    receiver.answer = Answer(503, headers={"Retry-After": "1"})
    assert notifier.call_next()
    assert not notifier.call_next()
    receiver.answer = Answer(204)
    wait_for(a_notifier(courier).call_next, what="the second call")
    first, second = receiver.calls
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert "again in 1 s: answered 503" in courier.log(order_id)


def test_a_receiver_that_changes_its_secret_can_use_either(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """Both secrets sign; neither is shown with the order."""
    order_id = failed(courier, notify=hook(receiver, secret=f"{SECRET} {OLD_SECRET}"))
    assert notifier.call_next()
    for secret in (SECRET, OLD_SECRET):
        assert event_of(receiver.calls[0], secret)["type"] == "order.failed"
    shown = json.dumps(courier.store.get(order_id).request.shown())
    assert "/hook" in shown
    assert "whsec" not in shown


def test_a_webhook_that_is_gone_is_called_no_more(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """Not for other orders either, until somebody asks to deliver to it."""
    receiver.answer = Answer(410)
    failed(courier, notify=hook(receiver))
    assert notifier.call_next()
    second = failed(courier, notify=hook(receiver))
    assert notifier.call_next()
    assert "answered 410 (gone) before" in courier.log(second)
    order = courier.deliver_until_it_ends(courier.to_deliver(hook(receiver)))
    assert order.error
    assert (order.state, order.error["code"]) == ("undelivered", "destination_refused")
    assert len(receiver.calls) == 1
    receiver.answer = Answer(204)
    courier.store.forget_gone(f"{receiver.url}/hook")
    courier.store.deliver_again(order.id)
    assert courier.deliver_until_it_ends(order.id).state == "delivered"


def test_an_order_that_cannot_be_read_now_is_told_later(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """A key may be missing for a while; the notice is not lost by that."""
    order_id = failed(courier, notify=hook(receiver))
    records = courier.store._client.records
    request = records.hget(f"sl:order:{order_id}", "request")
    records.hset(f"sl:order:{order_id}", "request", "sealed:unknown")
    assert notifier.call_next()
    assert receiver.calls == []
    records.hset(f"sl:order:{order_id}", "request", request)
    records.zadd("sl:notices", {f"{order_id} order.failed": 0})
    assert notifier.call_next()
    assert len(receiver.calls) == 1


def test_an_order_that_was_deleted_tells_nobody(
    courier: Courier, notifier: Notifier, receiver: WebhookReceiver
) -> None:
    """Its notice goes with it."""
    order_id = failed(courier, notify=hook(receiver))
    courier.store.delete_with_files(order_id)
    assert notifier.call_next()
    assert not notifier.call_next()
    assert receiver.calls == []
