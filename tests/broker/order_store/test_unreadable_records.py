"""Records that are damaged, or encrypted with another key: each is shown, and breaks no other."""

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from broker.errors import OrderError
from broker.order_store import OrderStore, UnreadableOrderError
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.order import OrderState, UnreadableOrder
from broker.settings.config import BrokerSettings
from tests.support.orders import TECHCYTE, a_request, classify, deliver, taken

Damage = Callable[[Any, str], object]


@pytest.fixture
def records(redis_url: str) -> Any:
    """The database of the records, without the store."""
    return RedisClient(RedisUrl.at(redis_url)).records


def a_key() -> str:
    return Fernet.generate_key().decode()


def with_keys(settings: BrokerSettings, *keys: str) -> OrderStore:
    """Return a store with these keys, the newest first."""
    secrets = [SecretStr(key) for key in keys]
    update = {"secret_key": secrets[0] if secrets else None, "old_secret_keys": tuple(secrets[1:])}
    return OrderStore.connect(settings.model_copy(update=update))


def retyped(records: Any, key: str) -> None:
    records.delete(key)
    records.set(key, "not a hash")


def set_field(name: str, value: str | bytes) -> Damage:
    return lambda records, order_id: records.hset(f"sl:order:{order_id}", name, value)


def set_scan_field(name: str, value: str) -> Damage:
    return lambda records, order_id: records.hset(f"sl:scan:{order_id}.0", name, value)


def without(name: str) -> Damage:
    return lambda records, order_id: records.hdel(f"sl:order:{order_id}", name)


DAMAGES: dict[str, Damage] = {
    "request is no JSON": set_field("request", '{"algorithm": "gr'),
    "request of a newer version": set_field("request", '{"algorithm": "grid", "speed": 2}'),
    "request is missing": without("request"),
    "request is no UTF-8": set_field("request", b"\xff\xfe\x00"),
    "request is nested too deep": set_field("destination", "[" * 100_000),
    "destination of a newer version": set_field("destination", '{"type": "fax"}'),
    "shown destination is a list": set_field("shown_destination", "[]"),
    "state of a newer version": set_field("state", "pondering"),
    "state is missing": without("state"),
    "priority of a newer version": set_field("priority", "stat"),
    "time is no number": set_field("created_at", "yesterday"),
    "time is beyond every calendar": set_field("updated_at", "1e30"),
    "time is infinite": set_field("expires_at", "inf"),
    "fence is no number": set_field("fence", "x"),
    "number of scans is missing": without("scans"),
    "number of scans is huge": set_field("scans", "1e9"),
    "error without a code": set_field("error", '"no"'),
    "labels are no JSON": set_field("labels", "{"),
    "acts are no list": set_field("acts", '{"at": 1}'),
    "state of a scan of a newer version": set_scan_field("state", "pondering"),
    "progress is no JSON": set_scan_field("progress", "{"),
    "fence of a scan is no number": set_scan_field("fence", "x"),
    "attempts of a scan are no number": set_scan_field("attempts", "x"),
    "an attempt is no JSON": lambda records, order_id: records.rpush(
        f"sl:attempts:{order_id}", "{"
    ),
    "attempts are no list": lambda records, order_id: records.set(f"sl:attempts:{order_id}", "x"),
    "log is no list": lambda records, order_id: retyped(records, f"sl:log:{order_id}"),
    "a line of the log is no JSON": lambda records, order_id: records.rpush(
        f"sl:log:{order_id}", "{"
    ),
    "scan is missing": lambda records, order_id: records.delete(f"sl:scan:{order_id}.0"),
    "scan is no hash": lambda records, order_id: retyped(records, f"sl:scan:{order_id}.0"),
    "order is no hash": lambda records, order_id: retyped(records, f"sl:order:{order_id}"),
    "order is missing": lambda records, order_id: records.delete(f"sl:order:{order_id}"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_one_damaged_record_breaks_nothing_else(
    store: OrderStore, records: Any, broker_settings: BrokerSettings, damage: Damage
) -> None:
    """Lists, counts, queues, the scheduler and claims go on; what can be read of it is shown."""
    damaged = store.create(a_request(labels={"case": "1"}), queue="gpu").order_id
    fine = store.create(a_request(labels={"case": "1"}), queue="gpu").order_id
    damage(records, damaged)
    for filters in ({}, {"labels": {"case": "1"}}, {"algorithm": "grid"}):
        entries = store.find(**filters).entries
        assert fine in [entry.id for entry in entries]
        assert {entry.id for entry in entries} <= {fine, damaged}
    store.counts()
    store.queues()
    soon = OrderStore.connect(broker_settings.model_copy(update={"hint_again_s": 0.001}))
    for _ in range(3):
        records.zadd("sl:due", dict.fromkeys(records.zrange("sl:due", 0, -1), 0))
        soon.due()
    assert store.expiring_first(f"{fine}.0") in (f"{fine}.0", f"{damaged}.0")
    store.claim(f"{damaged}.0", "fetch", "w1")
    store.take_back("w1", "signal 9")
    classify(store, fine)
    assert store.get(fine).state == OrderState.DELIVERING
    # its time is over: nothing of it is left
    records.zadd("sl:ended", {damaged: 1})
    assert store.deletable() == [damaged]
    store.delete(damaged)
    left = [key for key in records.keys("sl:*") if damaged in key and key != f"sl:log:{damaged}"]
    assert left == []
    assert store.deletable() == []
    assert [entry.id for entry in store.find().entries] == [fine]


def test_a_damaged_order_is_shown_with_what_can_be_read(
    store: OrderStore, records: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its id, state and times, and the error, which names the field and repeats no value."""
    order_id = store.create(a_request(), queue="gpu").order_id
    records.hset(f"sl:order:{order_id}", "request", '{"algorithm": "grid", "jwt_token": "S3CRET"}')
    caplog.set_level(logging.WARNING)
    with pytest.raises(UnreadableOrderError) as caught:
        store.get(order_id)
    store.find()
    order = caught.value.order
    assert (order.id, order.state) == (order_id, OrderState.QUEUED)
    assert abs((order.created_at or 0) - time.time()) < 60
    assert (caught.value.code, caught.value.problem.blame) == ("record_unreadable", "platform")
    assert "scans: Field required" in caught.value.detail
    assert "S3CRET" not in caught.value.detail
    assert [line.message for line in caplog.records].count(caplog.records[0].message) == 1
    assert "S3CRET" not in caplog.text


def test_an_order_that_no_script_can_work_on_ends(store: OrderStore, records: Any) -> None:
    """Else it would wait, and be sent to workers, for ever. Its blame is the platform's."""
    order_id = store.create(a_request(2), queue="gpu").order_id
    records.hset(f"sl:scan:{order_id}.0", "fence", "x")
    assert store.claim(f"{order_id}.0", "fetch", "w1") is None
    assert store.counts()["failed"] == 1
    assert store.claim(f"{order_id}.1", "fetch", "w1") is None
    assert [queue.waiting for queue in store.queues()] == [0]
    problem = json.loads(records.hget(f"sl:order:{order_id}", "error"))
    assert (problem["code"], problem["blame"]) == ("record_unreadable", "platform")
    assert records.zcard("sl:due") == 0


def test_an_order_of_another_key_says_so_and_others_are_read(
    broker_settings: BrokerSettings,
) -> None:
    """One by one: the list shows it with its error between those that can be read."""
    lost, today = a_key(), a_key()
    sealed = with_keys(broker_settings, lost).create(a_request(), queue="gpu").order_id
    plain = with_keys(broker_settings).create(a_request(), queue="gpu").order_id
    store = with_keys(broker_settings, today)
    mine = store.create(a_request(), queue="gpu").order_id
    first, second, third = store.find().entries
    assert [first.id, second.id, third.id] == [mine, plain, sealed]
    assert isinstance(third, UnreadableOrder)
    assert (third.state, third.problem.code) == ("queued", "sealed_with_another_key")
    with pytest.raises(OrderError) as caught:
        store.get(sealed)
    assert (caught.value.code, caught.value.problem.blame) == (
        "sealed_with_another_key",
        "platform",
    )


def test_a_key_is_rotated(broker_settings: BrokerSettings, records: Any) -> None:
    """The newest key encrypts, each of the older ones still decrypts."""
    old, older, new = a_key(), a_key(), a_key()
    first = with_keys(broker_settings, older).create(a_request(), queue="gpu").order_id
    second = with_keys(broker_settings, old, older).create(a_request(), queue="gpu").order_id
    store = with_keys(broker_settings, new, old, older)
    third = store.create(a_request(destination=TECHCYTE), queue="gpu").order_id
    assert [order.id for order in store.find().orders] == [third, second, first]
    assert [order.id for order in with_keys(broker_settings, new).find().orders] == [third]
    stored = str(records.hgetall(f"sl:order:{third}"))
    assert "top-secret-token" not in stored
    assert "ci.techcyte.com" not in stored


def test_an_order_of_an_older_version_is_read(store: OrderStore, records: Any) -> None:
    """It holds its destination within the request, and nothing of who placed it."""
    request = a_request(destination=TECHCYTE)
    order_id = store.create(request, queue="gpu").order_id
    key = f"sl:order:{order_id}"
    records.hset(key, "request", request.whole())
    records.hdel(key, "destination", "shown_destination", "created_by")
    order = store.get(order_id)
    assert order.request == request
    assert order.shown_destination == {k: v for k, v in TECHCYTE.items() if k != "jwt_token"}
    deliver(store, order_id)
    assert store.get(order_id).state == OrderState.DELIVERED
    assert store.get(order_id).shown_destination["host"] == "ci.techcyte.com"


def test_credentials_leave_the_record_with_the_delivery(store: OrderStore, records: Any) -> None:
    """While it may be sent again they are needed; where it went is shown for ever."""
    order_id = store.create(a_request(destination=TECHCYTE), queue="gpu").order_id
    classify(store, order_id)
    assert "top-secret-token" in str(records.hgetall(f"sl:order:{order_id}"))
    store.finish(taken(store, order_id, "deliver"), "delivered")
    for key in records.keys("*"):
        value = records.dump(key)
        assert b"top-secret-token" not in value, key
    assert store.get(order_id).shown_destination == {
        "type": "techcyte",
        "host": "ci.techcyte.com",
        "task_id": "dGFzazox",
    }


def test_credentials_also_leave_when_a_cancelled_order_proves_delivered(
    store: OrderStore, records: Any
) -> None:
    """Not only a courier ends an order as delivered."""
    order_id = store.create(a_request(destination=TECHCYTE), queue="gpu").order_id
    classify(store, order_id)
    claim = taken(store, order_id, "deliver")
    store.note(claim, attempt=(0, {"digest": "d", "status": 201, "outcome": "accepted"}))
    store.take_back("w1", "signal 9")
    assert store.get(order_id).state == OrderState.DELIVERED
    assert records.hget(f"sl:order:{order_id}", "destination") is None


def test_a_delivered_order_is_delivered_again_to_a_new_destination_only(
    store: OrderStore, records: Any
) -> None:
    """Its old attempts stay in sight, and say nothing of the new destination."""
    order_id = store.create(a_request(destination=TECHCYTE), queue="gpu").order_id
    deliver(store, order_id)
    with pytest.raises(OrderError, match="is delivered: the credentials"):
        store.deliver_again(order_id, "lab")
    new = a_request(destination=TECHCYTE | {"task_id": "2", "jwt_token": "another"}).destination
    assert store.deliver_again(order_id, "lab", new)[0].stage == "deliver"
    order = store.get(order_id)
    assert (order.state, order.last_attempt, len(order.attempts)) == ("delivering", None, 1)
    assert order.request.destination == new
    assert order.shown_destination["task_id"] == "2"
    assert [(act.act, act.by) for act in order.acts] == [("deliver", "lab")]
    # the courier of the new delivery is lost before its first attempt: nothing has arrived
    taken(store, order_id, "deliver")
    store.take_back("w1", "signal 9")
    assert store.get(order_id).state == OrderState.DELIVERING
    store.finish(taken(store, order_id, "deliver"), "delivered")
    assert records.hget(f"sl:order:{order_id}", "destination") is None
