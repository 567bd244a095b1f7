"""Jobs of Kue in the record: one number for one order, both ways, from its creation to its end."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.fernet import Fernet

from broker.errors import Problem
from broker.order_store import Created, Creator, OrderStore
from broker.order_store.errors import KueJobNotFoundError, TooManyWaitingError
from broker.order_store.kue import KueEvent, KueJob, KueSent
from broker.settings.config import BrokerSettings
from tests.support.orders import a_request, classify, deliver, taken

SENT = KueSent("analysisJob", {"order": {"image": {"case_id": "CMU1"}}}, is_told=True)
FAULT = Problem("input_unreachable", "it does not answer", blame="platform")


def created(store: OrderStore, sent: KueSent = SENT, **more: Any) -> tuple[int, Created]:
    number = store.kue.next_number()
    creator = Creator("kue", more.pop("max_waiting", None), store.kue.new_job(number, sent))
    key = more.pop("key", None)
    return number, store.create(a_request(**more), queue="gpu", creator=creator, key=key)


def told(store: OrderStore) -> list[KueEvent]:
    return store.kue_events.after("0-0")


def names(store: OrderStore) -> list[str]:
    return [event.name for event in told(store)]


def test_an_order_and_its_job_are_one_write(store: OrderStore) -> None:
    """Either both are there or none: an order that is refused leaves no job."""
    number, order = created(store)
    assert store.kue.number_of(order.order_id) == number
    assert store.kue.job(number).order_id == order.order_id
    with pytest.raises(TooManyWaitingError):
        created(store, max_waiting=1)
    with pytest.raises(KueJobNotFoundError):
        store.kue.job(number + 1)
    assert [job.number for job in store.kue.listed(0, -1)] == [number]


def test_a_call_whose_answer_was_lost_makes_one_job(store: OrderStore) -> None:
    """The client of Redis repeats a script: the second call finds the order."""
    number = store.kue.next_number()
    calls = []
    run = store._client.run

    def run_twice(script: str, *arguments: object) -> Any:
        calls.append(script)
        run(script, *arguments)
        return run(script, *arguments)

    store._client.run = run_twice  # type: ignore[method-assign]
    creator = Creator("kue", None, store.kue.new_job(number, SENT))
    order = store.create(a_request(), queue="gpu", creator=creator)
    store.kue.refuse(number + 1, SENT, "why")
    assert calls == ["create", "kue_refuse"]
    store._client.run = run  # type: ignore[method-assign]
    assert store.kue.job(number).order_id == order.order_id
    assert [event.job for event in told(store)] == [number, number + 1, number + 1]


def test_a_repeated_key_leads_to_the_first_job(store: OrderStore) -> None:
    """Also from several threads at once; the numbers that were not used stay unused."""
    with ThreadPoolExecutor(4) as threads:
        orders = list(threads.map(lambda _: created(store, key="k")[1], range(4)))
    assert len({order.order_id for order in orders}) == 1
    assert len(store.kue.listed(0, -1)) == 1


def test_what_was_sent_is_encrypted(broker_settings: BrokerSettings, store: OrderStore) -> None:
    """The data may name a patient's case."""
    settings = broker_settings.model_validate(
        broker_settings.model_dump() | {"secret_key": Fernet.generate_key().decode()}
    )
    locked = OrderStore.connect(settings)
    number, _ = created(locked)
    stored = store._client.records.hgetall(f"sl:kue:job:{number}")
    assert "CMU1" not in str(stored)
    assert locked.kue.job(number).data == SENT.data
    assert store.kue.job(number).data == {}


def test_a_good_job_is_told_in_kues_order(store: OrderStore) -> None:
    """Enqueue, start, complete; and remove when its order is deleted."""
    number, order = created(store)
    deliver(store, order.order_id)
    store.delete(order.order_id)
    assert names(store) == ["enqueue", "start", "complete", "remove"]
    assert {event.job for event in told(store)} == {number}
    assert not store._client.records.keys("sl:kue:job*")


def test_a_failed_job_is_told_why(store: OrderStore) -> None:
    """`error` goes before `failed`; tried again, it is enqueued once more."""
    _, order = created(store)
    store.finish(taken(store, f"{order.order_id}.0", "fetch"), "failed", problem=FAULT)
    store.retry(order.order_id)
    assert names(store) == ["enqueue", "start", "error", "failed", "enqueue"]


@pytest.mark.parametrize("how", ["given back", "lost"])
def test_a_failed_attempt_is_told(store: OrderStore, how: str) -> None:
    """With how many were made; then it is enqueued, and starts once more."""
    number, order = created(store)
    work = f"{order.order_id}.0"
    claim = taken(store, work, "fetch")
    if how == "lost":
        store.take_back("w1", "signal 9")
    else:
        store.give_back(claim, problem=FAULT)
    taken(store, work, "fetch")
    events = told(store)
    assert [event.name for event in events[2:]] == ["error", "enqueue", "failed attempt", "start"]
    assert events[4].made == 1
    assert store.kue.job(number).fields["attempts"] == "1"


def test_what_is_no_attempt_is_not_told(store: OrderStore) -> None:
    """Work that is handed back because its worker stops."""
    _, order = created(store)
    claim = taken(store, f"{order.order_id}.0", "fetch")
    store.give_back(claim, reason="the worker stops")
    classify(store, order.order_id)
    assert names(store) == ["enqueue", "start"]


def test_a_delayed_job_is_enqueued_when_it_begins(store: OrderStore) -> None:
    """By whoever looks first, or by the claim itself; never twice."""
    delayed = KueSent("analysisJob", {}, delay_ms=600_000, is_told=True)
    number, _ = created(store, delayed, delay_s=600.0)
    assert names(store) == []
    store.kue.promote()
    assert store.kue.job(number).state == "delayed"
    short = KueSent("analysisJob", {}, delay_ms=1, is_told=True)
    _, order = created(store, short, delay_s=0.001)
    claim = None
    while claim is None:
        claim = store.claim(f"{order.order_id}.0", "fetch", "w1")
    store.kue.promote()
    assert names(store) == ["enqueue", "start"]


def test_events_are_noted_only_where_somebody_listens(store: OrderStore) -> None:
    """Without `publish_events` the stream stays empty."""
    _, order = created(store, KueSent("analysisJob", {}))
    deliver(store, order.order_id)
    assert told(store) == []


def test_a_removed_job_is_told_with_its_id_as_text(store: OrderStore) -> None:
    """As after Kue's HTTP DELETE; the order's own end says nothing more."""
    number, order = created(store)
    assert store.kue.remove(number) == order.order_id
    store.cancel(order.order_id)
    store.delete(order.order_id)
    (_, removed) = told(store)
    assert removed.message(None) == {
        "id": str(number),
        "event": "remove",
        "args": ["remove", "analysisJob"],
    }


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (("enqueue", ""), ["enqueue", "t"]),
        (("start", ""), ["start", "t", None]),
        (("complete", ""), ["complete", None, None]),
        (("error", "m\nhint: h"), ["error", "m\nhint: h"]),
        (("failed", "m\nhint: h"), ["failed", "m", None]),
        (("failed attempt", "m"), ["failed attempt", "m", 2]),
        (("remove", ""), ["remove", "t"]),
    ],
)
def test_messages_are_kues(event: tuple[str, str], expected: list[Any]) -> None:
    """As recorded: the event's own name first, then what belongs to it."""
    name, text = event
    message = KueEvent("1-0", 14, name, "t", text, 2).message(None)
    assert message == {"id": 14, "event": name, "args": expected}


def test_a_job_of_an_unreadable_order_is_shown(store: OrderStore) -> None:
    """It has a state and, where it failed, a reason."""
    number, order = created(store)
    store._client.records.hset(f"sl:order:{order.order_id}", "request", "{")
    job = store.kue.job(number)
    assert isinstance(job, KueJob)
    assert (job.state, job.percent, job.error) == ("inactive", 0, None)


def test_a_damaged_job_is_as_good_as_none(store: OrderStore) -> None:
    """It breaks no list; its order goes on."""
    number, order = created(store)
    other, _ = created(store)
    store._client.records.hset(f"sl:kue:job:{number}", "priority", "soon")
    assert [job.number for job in store.kue.listed(0, -1)] == [other]
    with pytest.raises(KueJobNotFoundError):
        store.kue.job(number)
    deliver(store, order.order_id)
    assert store.get(order.order_id).state == "delivered"
    store.delete(order.order_id)
