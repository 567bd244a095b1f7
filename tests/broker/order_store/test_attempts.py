"""The numbers of attempts, which name Celery's tasks: none is ever given twice."""

from broker.errors import Problem
from broker.order_store import Claim, OrderStore
from broker.orders.order import Stage, attempt_of
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings


def an_order(store: OrderStore) -> str:
    scan = {"id": "a", "source": {"type": "path", "path": "/a.svs"}}
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": [scan]}, strict=False)
    created = store.create(request, queue="gpu")
    assert [message.task_id for message in created.messages] == [f"{created.order_id}.0:fetch:1"]
    return created.order_id


def claimed(store: OrderStore, work: str, stage: Stage) -> Claim:
    claim = store.claim(work, stage, "w")
    assert claim
    return claim


def test_no_two_attempts_share_a_task_id(store: OrderStore) -> None:
    """Given back, lost, failed and retried: each claim has the next number of its stage, and each
    message asks for the claim that comes."""
    order_id = an_order(store)
    work = f"{order_id}.0"
    ids = []
    for _ in range(2):
        claim = claimed(store, work, "fetch")
        ids.append(claim.task_id)
        (message,) = store.give_back(claim)
        assert message.attempt == claim.attempt + 1
    claim = claimed(store, work, "fetch")
    ids.append(claim.task_id)
    (message,) = store.finish(claim, "staged")
    assert message.task_id == f"{work}:classify:1"
    ids.append(claimed(store, work, "classify").task_id)
    (message,) = store.take_back("w", "killed")
    assert message.task_id == f"{work}:classify:2"
    claim = claimed(store, work, "classify")
    ids.append(claim.task_id)
    store.finish(claim, "failed", problem=Problem("bug", "it broke"))
    (message,) = store.retry(order_id)
    assert message.task_id == f"{work}:fetch:4"
    ids.append(claimed(store, work, "fetch").task_id)
    assert ids == [
        f"{work}:fetch:1",
        f"{work}:fetch:2",
        f"{work}:fetch:3",
        f"{work}:classify:1",
        f"{work}:classify:2",
        f"{work}:fetch:4",
    ]


def test_a_message_that_is_sent_again_asks_for_the_same_attempt(
    broker_settings: BrokerSettings,
) -> None:
    """It was lost, so nothing was done under its id."""
    store = OrderStore.connect(broker_settings.model_copy(update={"hint_again_s": 0.001}))
    order_id = an_order(store)
    messages: list[str] = []
    while not messages:
        messages = [message.task_id for message in store.due()]
    assert messages == [f"{order_id}.0:fetch:1"]


def test_how_an_attempt_stands_is_told_from_the_record(store: OrderStore) -> None:
    """To come, begun, given back; nothing of work that does not exist."""
    work = f"{an_order(store)}.0"

    def standing(number: int) -> str:
        found = store.standing(work, "fetch")
        assert found
        return found.of_attempt(number)

    assert standing(1) == "to_come"
    claim = claimed(store, work, "fetch")
    assert standing(1) == "begun"
    store.give_back(claim)
    assert (standing(1), standing(2)) == ("given_back", "to_come")
    claim = claimed(store, work, "fetch")
    assert (standing(1), standing(2)) == ("given_back", "begun")
    store.finish(claim, "failed", problem=Problem("bug", "it broke"))
    assert standing(2) == "begun"
    assert store.standing("0123.0", "fetch") is None
    assert store.standing("0123", "deliver") is None


def test_a_task_id_of_other_work_names_no_attempt() -> None:
    """Nor does an id that Celery makes up, as in the messages of older versions."""
    assert attempt_of("o.0:fetch:12", "o.0", "fetch") == 12
    for other in ("o.1:fetch:1", "o.0:classify:1", "o.0:fetch:x", "o.0:fetch:", "8f3e-uuid", ""):
        assert attempt_of(other, "o.0", "fetch") is None
