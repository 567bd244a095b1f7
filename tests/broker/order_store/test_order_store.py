"""The record: created whole, taken once, fenced, and never lost by a worker that is."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from broker.errors import OrderError, Problem, TemporaryError
from broker.order_store import Claim, LeaseLostError, OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.order import OrderState, ScanState
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings


def an_order(scans: int = 1, **more: object) -> OrderRequest:
    slides = [
        {"id": str(n), "source": {"type": "path", "path": "/slides/a.svs"}} for n in range(scans)
    ]
    return OrderRequest.model_validate(
        {"algorithm": "grid", "scans": tuple(slides), **more}, strict=False
    )


def wait_for(condition: Callable[[], object]) -> object:
    tick = threading.Event()
    for _ in range(600):
        if found := condition():
            return found
        tick.wait(0.05)
    raise AssertionError("it never came true")


def taken(store: OrderStore, work: str, stage: str) -> Claim:
    claim = store.claim(work, stage, "w1")
    assert claim is not None
    return claim


def classified(store: OrderStore, order_id: str, index: int = 0) -> None:
    work = f"{order_id}.{index}"
    store.finish(taken(store, work, "fetch"), "staged")
    store.finish(taken(store, work, "classify"), "classified", {"result": "results/x"})


def test_an_order_walks_from_queued_to_delivered(store: OrderStore) -> None:
    """Each stage taken and finished moves the order one step on its way."""
    order_id = store.create(an_order(), queue="gpu").order_id
    assert store.get(order_id).state == OrderState.QUEUED
    classified(store, order_id)
    assert store.get(order_id).state == OrderState.DELIVERING
    store.finish(taken(store, order_id, "deliver"), "delivered")
    assert store.get(order_id).state == OrderState.DELIVERED


def test_lines_of_the_log_come_with_the_end_of_a_scan_once(store: OrderStore) -> None:
    """Before the line of the new state; the repeated call of a lost answer adds none."""
    order_id = store.create(an_order(), queue="gpu").order_id
    claim = taken(store, f"{order_id}.0", "fetch")
    for _ in range(2):
        store.finish(claim, "staged", log=("took 2 s", "warning blur: hardly sharp"))
    texts = [line["text"] for line in store.log(order_id)]
    assert texts[-3:] == [
        "scan 0: took 2 s",
        "scan 0: warning blur: hardly sharp",
        "scan 0: staged",
    ]


def test_work_is_taken_by_one_worker_only(store: OrderStore) -> None:
    """Of many that hear the same message, one gets the work."""
    order_id = store.create(an_order(), queue="gpu").order_id
    claims: list[Claim | None] = []
    threads = [
        threading.Thread(target=lambda: claims.append(store.claim(f"{order_id}.0", "fetch", "w")))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1


def test_a_stale_worker_can_neither_write_nor_renew(broker_settings: BrokerSettings) -> None:
    """Once its lease ran out and another took over, every write of the first is refused."""
    store = OrderStore.connect(
        broker_settings.model_copy(update={"lease_s": 0.2, "heartbeat_s": 0.05})
    )
    order_id = store.create(an_order(), queue="gpu").order_id
    work = f"{order_id}.0"
    first = taken(store, work, "fetch")
    second = wait_for(lambda: store.due() and store.claim(work, "fetch", "w2"))
    assert isinstance(second, Claim)
    assert second.fence > first.fence
    assert store.renew(first) == "lost"
    with pytest.raises(LeaseLostError):
        store.finish(first, "staged")
    with pytest.raises(LeaseLostError):
        store.note(first, {"slide": {}})


def test_a_scan_that_loses_its_worker_three_times_fails(broker_settings: BrokerSettings) -> None:
    """The record says how often and blames the algorithm."""
    store = OrderStore.connect(
        broker_settings.model_copy(update={"lease_s": 0.05, "heartbeat_s": 0.01})
    )
    order_id = store.create(an_order(), queue="gpu").order_id
    for _ in range(3):
        wait_for(lambda: store.due() is not None and store.claim(f"{order_id}.0", "fetch", "w"))
    wait_for(lambda: store.due() is not None and store.get(order_id).state == OrderState.FAILED)
    error = store.get(order_id).scans[0].error
    assert error
    assert (error["code"], error["blame"]) == ("worker_lost", "algorithm")


def test_a_lost_task_message_is_sent_again_but_a_long_queue_is_not_flooded(
    store: OrderStore,
) -> None:
    """With no message on the queue the scheduler sends one for the waiting work, not once a
    tick."""
    order_id = store.create(an_order(), queue="gpu").order_id
    enqueued = wait_for(store.due)
    assert [message.work for message in enqueued] == [f"{order_id}.0"]
    assert store.due() == ()


def test_the_same_key_and_body_is_the_same_order(store: OrderStore) -> None:
    """However many ask at once, one order is made."""
    answers = [store.create(an_order(), queue="gpu", key="k", fingerprint="f") for _ in range(3)]
    assert len({answer.order_id for answer in answers}) == 1
    assert [answer.fresh for answer in answers] == [True, False, False]


def test_the_same_key_with_another_body_is_refused(store: OrderStore) -> None:
    """A key stands for one order."""
    store.create(an_order(), queue="gpu", key="k", fingerprint="f")
    with pytest.raises(OrderError, match="another order") as caught:
        store.create(an_order(), queue="gpu", key="k", fingerprint="g")
    assert caught.value.code == "key_reused"


def test_one_failed_scan_fails_the_order_after_the_others_ended(store: OrderStore) -> None:
    """Nothing half is delivered; what the others found stays."""
    order_id = store.create(an_order(2), queue="gpu").order_id
    problem = Problem("not_a_slide", "it is a web page", blame="input")
    store.finish(taken(store, f"{order_id}.0", "fetch"), "failed", problem=problem)
    assert store.get(order_id).state == OrderState.RUNNING
    classified(store, order_id, 1)
    order = store.get(order_id)
    assert order.state == OrderState.FAILED
    assert order.error
    assert order.error["blame"] == "input"
    assert [scan.state for scan in order.scans] == [ScanState.FAILED, ScanState.CLASSIFIED]


def test_an_order_that_expires_stops_its_worker(broker_settings: BrokerSettings) -> None:
    """The record ends at once; whoever still works on it is refused."""
    store = OrderStore.connect(broker_settings.model_copy(update={"order_life_s": 0.2}))
    order_id = store.create(an_order(), queue="gpu").order_id
    claim = taken(store, f"{order_id}.0", "fetch")
    wait_for(lambda: store.due() is not None and store.get(order_id).state == OrderState.EXPIRED)
    assert store.renew(claim) == "lost"


def test_work_given_back_waits_for_its_delay(store: OrderStore) -> None:
    """Until then it cannot be claimed, with or without a task message, however often that is tried."""
    order_id = store.create(an_order(), queue="gpu").order_id
    claim = taken(store, f"{order_id}.0", "fetch")
    before_ms = store._now_ms()
    assert store.give_back(claim, delay_s=0.3) == ()
    again = wait_for(lambda: store.claim(f"{order_id}.0", "fetch", "w"))
    assert store._now_ms() - before_ms >= 300
    assert isinstance(again, Claim)
    assert again.attempts == 1


def test_priority_chooses_the_queue(store: OrderStore) -> None:
    """`normal` has the plain name, so that Flower shows three queues."""
    assert store.create(an_order(), queue="gpu").messages[0].queue == "fetch"
    assert (
        store.create(an_order(priority="urgent"), queue="gpu").messages[0].queue == "fetch.urgent"
    )


def test_too_many_waiting_orders_are_refused(broker_settings: BrokerSettings) -> None:
    """One more than allowed is told to come back."""
    store = OrderStore.connect(broker_settings.model_copy(update={"max_waiting": 1}))
    store.create(an_order(), queue="gpu")
    with pytest.raises(TemporaryError) as caught:
        store.create(an_order(), queue="gpu")
    assert caught.value.code == "too_many_waiting"


def test_lists_are_filtered_and_paged_newest_first(store: OrderStore) -> None:
    """Filters combine; the cursor leads on from where a page ended."""
    ids = [
        store.create(an_order(labels={"case": f"c{n % 2}"}), queue="gpu").order_id for n in range(6)
    ]
    page = store.find(labels={"case": "c0"}, state="queued", limit=2)
    assert [order.id for order in page.orders] == [ids[4], ids[2]]
    rest = store.find(labels={"case": "c0"}, state="queued", cursor=page.cursor, limit=2)
    assert [order.id for order in rest.orders] == [ids[0]]
    assert rest.cursor is None


def test_secrets_are_sealed_at_rest(broker_settings: BrokerSettings, redis_url: str) -> None:
    """With a secret key set, a dump of Redis holds no token."""
    from cryptography.fernet import Fernet
    from pydantic import SecretStr

    store = OrderStore.connect(
        broker_settings.model_copy(update={"secret_key": SecretStr(Fernet.generate_key().decode())})
    )
    destination = {
        "type": "techcyte",
        "host": "ci.techcyte.com",
        "task_id": "1",
        "jwt_token": "top-secret",
    }
    order_id = store.create(an_order(destination=destination), queue="gpu").order_id
    assert "top-secret" not in str(
        RedisClient(RedisUrl.at(redis_url)).records.hgetall(f"sl:order:{order_id}")
    )
    stored = store.get(order_id).request.destination
    assert stored.type == "techcyte"
    assert stored.jwt_token
    assert stored.jwt_token.get_secret_value() == "top-secret"


def test_a_cancelled_order_ends_at_once_and_refuses_its_worker(store: OrderStore) -> None:
    """Queued scans and running ones alike; the worker hears `lost` at its next look."""
    order_id = store.create(an_order(2), queue="gpu").order_id
    claim = taken(store, f"{order_id}.0", "fetch")
    store.cancel(order_id)
    assert store.get(order_id).state == OrderState.CANCELLED
    assert store.check_lease(claim) == "lost"
    assert store.claim(f"{order_id}.1", "fetch", "w") is None


def test_cancelling_a_delivery_under_way_leaves_the_decision_to_its_outcome(
    store: OrderStore,
) -> None:
    """What arrived is delivered; what did not is not sent again."""
    for outcome, end in (("delivered", OrderState.DELIVERED), ("back", OrderState.CANCELLED)):
        order_id = store.create(an_order(), queue="gpu").order_id
        classified(store, order_id)
        claim = taken(store, order_id, "deliver")
        store.cancel(order_id)
        assert store.renew(claim) == "cancel"
        store.give_back(claim) if outcome == "back" else store.finish(claim, outcome)
        assert store.get(order_id).state == end


def test_an_order_that_ended_otherwise_cannot_be_cancelled(store: OrderStore) -> None:
    """The caller is told what became of it; cancelling twice is no fault."""
    order_id = store.create(an_order(), queue="gpu").order_id
    classified(store, order_id)
    store.finish(taken(store, order_id, "deliver"), "delivered")
    with pytest.raises(OrderError, match="is delivered"):
        store.cancel(order_id)
    other = store.create(an_order(), queue="gpu").order_id
    store.cancel(other)
    store.cancel(other)


def test_retry_runs_only_the_scans_that_are_not_classified(store: OrderStore) -> None:
    """What was found already stays; the order goes on to its delivery."""
    order_id = store.create(an_order(2), queue="gpu").order_id
    classified(store, order_id, 1)
    problem = Problem("input_unreachable", "no answer", blame="platform")
    store.finish(taken(store, f"{order_id}.0", "fetch"), "failed", problem=problem)
    assert store.get(order_id).state == OrderState.FAILED
    assert [message.work for message in store.retry(order_id)] == [f"{order_id}.0"]
    assert store.get(order_id).error is None
    classified(store, order_id, 0)
    assert store.get(order_id).state == OrderState.DELIVERING


def test_an_undelivered_order_is_delivered_again_on_request_only(store: OrderStore) -> None:
    """And an order that is on its way, or arrived, is not."""
    order_id = store.create(an_order(), queue="gpu").order_id
    with pytest.raises(OrderError, match="is queued"):
        store.deliver_again(order_id)
    classified(store, order_id)
    problem = Problem("destination_refused", "no such task", blame="destination")
    store.finish(taken(store, order_id, "deliver"), "undelivered", problem=problem)
    assert store.deliver_again(order_id)[0].stage == "deliver"
    store.finish(taken(store, order_id, "deliver"), "delivered")
    with pytest.raises(OrderError, match="is delivered"):
        store.deliver_again(order_id)


def test_low_priority_work_goes_up_with_the_time_it_waited(broker_settings: BrokerSettings) -> None:
    """From `low` to the plain queue to `high`, never to `urgent`; nothing starves."""
    store = OrderStore.connect(
        broker_settings.model_copy(update={"age_s": 0.05, "hint_again_s": 0.01})
    )
    store.create(an_order(priority="low"), queue="gpu")
    seen: list[str] = []
    wait_for(lambda: seen.extend(message.queue for message in store.due()) or "fetch.high" in seen)
    assert list(dict.fromkeys(seen)) in (["fetch", "fetch.high"], ["fetch.high"])


def test_a_url_that_expires_soon_is_fetched_first(store: OrderStore) -> None:
    """Whatever the order's priority."""
    url = f"https://b.example/a.svs?Signature=x&Expires={int(time.time()) + 60}"
    scans = ({"id": "1", "source": {"type": "url", "url": url}},)
    order = OrderRequest.model_validate({"algorithm": "grid", "scans": scans})
    assert store.create(order, queue="gpu").messages[0].queue == "fetch.urgent"


def test_a_worker_known_to_be_gone_gives_its_work_back_at_once(store: OrderStore) -> None:
    """The end of the lease is not waited for; a worker that was asked to stop costs no attempt."""
    order_id = store.create(an_order(), queue="gpu").order_id
    work = f"{order_id}.0"
    stale = taken(store, work, "fetch")
    assert [
        message.work for message in store.take_back("w1", "asked to stop", asked_to_stop=True)
    ] == [work]
    with pytest.raises(LeaseLostError):
        store.finish(stale, "staged")
    for _ in range(3):
        taken(store, work, "fetch")
        store.take_back("w1", "signal 9 (SIGKILL)")
    error = store.get(order_id).scans[0].error
    assert error
    assert "signal 9 (SIGKILL)" in error["detail"]


def test_what_ended_long_ago_is_forgotten_whole(
    broker_settings: BrokerSettings, redis_url: str
) -> None:
    """No key of it stays behind."""
    store = OrderStore.connect(broker_settings.model_copy(update={"keep_s": 0.01}))
    order_id = store.create(an_order(labels={"case": "1"}), queue="gpu").order_id
    assert store.deletable() == []
    store.cancel(order_id)
    assert wait_for(store.deletable) == [order_id]
    store.delete(order_id)
    records = RedisClient(RedisUrl.at(redis_url)).records
    assert [key for key in records.scan_iter("*") if order_id in key] == []
    assert store.find().orders == ()


def test_what_waits_says_where_behind_what_and_why(store: OrderStore) -> None:
    """More urgent work counts as ahead; a queue that nobody consumes is named."""
    first = store.create(an_order(), queue="gpu").order_id
    wait_for(
        lambda: time.time() > store.get(first).created_at + 0.001
    )  # of one millisecond nobody is ahead
    second = store.create(an_order(), queue="gpu").order_id
    store.create(an_order(priority="urgent"), queue="gpu")
    waits = store.waits(store.get(second))
    assert waits[f"{second}.0"].ahead == 2
    assert waits[f"{second}.0"].reason == "no worker consumes the queue fetch"
    store.present("w", ["fetch"])
    assert store.waits(store.get(second))[f"{second}.0"].reason == "2 ahead of it"
    claim = taken(store, f"{first}.0", "fetch")
    assert store.waits(store.get(first)) == {}
    store.give_back(claim, delay_s=60)
    assert store.waits(store.get(first))[f"{first}.0"].reason == "tried again in 60 s"


def test_a_broken_record_does_not_stop_the_scheduler(store: OrderStore, redis_url: str) -> None:
    """Its order ends and says so in its log, so that nobody waits for it; the others go on."""
    broken = store.create(an_order(), queue="gpu").order_id
    fine = store.create(an_order(), queue="gpu").order_id
    RedisClient(RedisUrl.at(redis_url)).records.hset(f"sl:scan:{broken}.0", "queue", "nowhere")
    enqueued: list[str] = []
    wait_for(
        lambda: enqueued.extend(message.work for message in store.due()) or f"{fine}.0" in enqueued
    )
    assert "failed on this record" in store.log(broken)[-1]["text"]
    error = store.get(broken).error
    assert error
    assert (error["code"], error["blame"]) == ("record_unreadable", "platform")


def delivering_after(store: OrderStore, outcome: str) -> str:
    """An order whose courier was lost after an attempt with this outcome."""
    order_id = store.create(an_order(), queue="gpu").order_id
    classified(store, order_id)
    store.note(taken(store, order_id, "deliver"), attempt=(0, {"digest": "d", "outcome": outcome}))
    store.take_back("w1", "killed")
    return order_id


def test_an_acceptance_on_record_is_the_end_whatever_happens_next(
    broker_settings: BrokerSettings,
) -> None:
    """Lost, cancelled or expired: results that arrived are delivered."""
    store = OrderStore.connect(broker_settings)
    assert store.get(delivering_after(store, "accepted")).state == OrderState.DELIVERED


def test_what_may_have_arrived_is_not_called_cancelled(store: OrderStore) -> None:
    """The destination is asked first; the record stays open until it has answered."""
    order_id = delivering_after(store, "unknown")
    store.cancel(order_id)
    assert store.get(order_id).state == OrderState.DELIVERING
    store.give_back(taken(store, order_id, "deliver"))
    assert store.get(order_id).state == OrderState.DELIVERING


def test_an_order_expires_while_its_delivery_is_postponed(broker_settings: BrokerSettings) -> None:
    """A long Retry-After does not outlive the order; what may have arrived is said to be
    unknown."""
    store = OrderStore.connect(broker_settings.model_copy(update={"order_life_s": 0.3}))
    order_id = store.create(an_order(), queue="gpu").order_id
    classified(store, order_id)
    claim = taken(store, order_id, "deliver")
    store.note(claim, attempt=(0, {"digest": "d", "outcome": "unknown", "error": "silence"}))
    store.give_back(claim, delay_s=3600)
    wait_for(
        lambda: store.due() is not None and store.get(order_id).state == OrderState.UNDELIVERED
    )
    error = store.get(order_id).error
    assert error
    assert (error["code"], "silence" in error["detail"]) == ("delivery_unknown", True)


def test_an_order_of_an_older_version_is_read_and_classified_on_its_queue(
    store: OrderStore, redis_url: str
) -> None:
    """It was stored with the field `lane`: Python and Lua still find its queue there."""
    order_id = store.create(an_order(priority="high"), queue="gpu-24g").order_id
    records = RedisClient(RedisUrl.at(redis_url)).records
    key = f"sl:order:{order_id}"
    records.hset(key, "lane", records.hget(key, "classify_queue"))
    records.hdel(key, "classify_queue")
    assert store.get(order_id).queue == "gpu-24g"
    work = f"{order_id}.0"
    assert store.finish(taken(store, work, "fetch"), "staged")[0].queue == "gpu-24g.high"


def test_the_queue_of_an_order_survives_its_delivery(store: OrderStore) -> None:
    """What the delivery waits on is another thing; tried again, the scans go to the order's
    queue."""
    order_id = store.create(an_order(), queue="cpu").order_id
    classified(store, order_id)
    assert store.get(order_id).state == OrderState.DELIVERING
    assert store.get(order_id).queue == "cpu"


def test_a_card_of_an_older_worker_is_read(store: OrderStore, redis_url: str) -> None:
    """It names its queue `lane`."""
    card = {"name": "old", "version": "1", "digest": "0" * 64, "title": "t", "description": "d",
            "output": "report", "classes": [], "parameters": {}, "lane": "gpu-24g"}  # fmt: skip
    RedisClient(RedisUrl.at(redis_url)).records.hset("sl:cards", "old", json.dumps(card))
    assert store.cards()["old"].queue == "gpu-24g"
    assert "lane" not in store.cards()["old"].model_dump()
