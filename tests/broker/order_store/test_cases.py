"""The record of a case: who judges it, when, and what a loss, a failure or a request does to it."""

import pytest

from broker.errors import Problem
from broker.order_store import Claim, LeaseLostError, OrderStore
from broker.orders.order import Order
from broker.settings.config import BrokerSettings
from tests.support.orders import a_request, taken

BROKEN = Problem("slide_unreadable", "it ends too early")


def staged(store: OrderStore, order_id: str, index: int) -> Claim:
    """Bring one scan from `queued` to `classifying`."""
    store.finish(taken(store, f"{order_id}.{index}", "fetch"), "staged")
    return taken(store, f"{order_id}.{index}", "classify")


def encode(store: OrderStore, order_id: str, index: int) -> None:
    """Bring one scan from `queued` to the end of its first pass."""
    claim = staged(store, order_id, index)
    store.finish_encoded(claim, {"result": f"results/{index}", "summary": {"tiles": index}})


def states(order: Order) -> list[str]:
    return [scan.state.value for scan in order.scans]


def an_encoded_case(store: OrderStore, scans: int = 3, **more: str) -> str:
    """An order whose scans are encoded, the middle one last."""
    order_id = store.create(a_request(scans, **more), queue="gpu").order_id
    for index in sorted(range(scans), key=lambda one: one == 1):
        encode(store, order_id, index)
    return order_id


def test_the_scan_that_is_encoded_last_waits_to_judge_the_case(store: OrderStore) -> None:
    """Its results and those of the others are there, and are written together once it has."""
    order_id = store.create(a_request(3), queue="gpu").order_id
    encode(store, order_id, 0)
    encode(store, order_id, 2)
    claim = staged(store, order_id, 1)
    (message,) = store.finish_encoded(claim, {"result": "results/1"}, log=["encoded"])
    assert (message.stage, message.work, message.attempt) == ("classify", f"{order_id}.1", 2)
    order = store.get(order_id)
    assert order.state == "running"
    assert states(order) == ["classified", "staged", "classified"]
    assert [scan.judges_case for scan in order.scans] == [False, True, False]
    assert [scan.result for scan in order.scans] == ["results/0", "results/1", "results/2"]
    claim = taken(store, f"{order_id}.1", "classify")
    fields = [{"result": f"judged/{n}", "summary": {"case": {"class": "x"}}} for n in range(3)]
    (message,) = store.finish_case(claim, fields, log=["judged"])
    assert (message.stage, message.work) == ("deliver", order_id)
    order = store.get(order_id)
    assert order.state == "delivering"
    assert states(order) == ["classified"] * 3
    assert not any(scan.judges_case for scan in order.scans)
    assert [scan.result for scan in order.scans] == ["judged/0", "judged/1", "judged/2"]
    assert all(scan.summary == {"case": {"class": "x"}} for scan in order.scans)
    texts = [line["text"] for line in store.log(order_id)]
    assert "scan 1: staged: every scan is encoded; the case is judged next" in texts
    assert texts.count("scan 1: encoded") == texts.count("scan 1: judged") == 1


def test_a_lost_answer_of_either_end_changes_nothing_when_it_is_repeated(
    store: OrderStore,
) -> None:
    """The call is made again, and the scheduler sends the message that was lost with the answer."""
    order_id = store.create(a_request(2), queue="gpu").order_id
    encode(store, order_id, 0)
    claim = staged(store, order_id, 1)
    store.finish_encoded(claim, {"result": "r"})
    before = store.get(order_id)
    assert store.finish_encoded(claim, {"result": "r"}) == ()
    assert store.get(order_id) == before
    judge = taken(store, f"{order_id}.1", "classify")
    store.finish_case(judge, [{"result": "0"}, {"result": "1"}])
    before = store.get(order_id)
    assert store.finish_case(judge, [{"result": "0"}, {"result": "1"}]) == ()
    assert store.get(order_id) == before
    with pytest.raises(LeaseLostError):
        store.finish_encoded(claim, {"result": "late"})
    assert store.get(order_id) == before


@pytest.mark.parametrize("on_scan_failure", ["fail", "deliver_rest"])
def test_a_case_without_one_of_its_scans_is_not_judged(
    store: OrderStore, on_scan_failure: str
) -> None:
    """Nor delivered in part, whatever the order says. Tried again, the rest stays encoded."""
    request = a_request(3, on_scan_failure=on_scan_failure)
    order_id = store.create(request, queue="gpu").order_id
    encode(store, order_id, 0)
    store.finish(staged(store, order_id, 1), "failed", problem=BROKEN)
    encode(store, order_id, 2)
    order = store.get(order_id)
    assert order.state == "failed"
    assert states(order) == ["classified", "failed", "classified"]
    assert order.error
    assert "1 of 3 scans failed; nothing was delivered" in order.error["detail"]
    assert "a case is judged by all of its scans or not at all" in order.error["hint"]
    (message,) = store.retry(order_id)
    assert message.work == f"{order_id}.1"
    encode(store, order_id, 1)
    assert store.get(order_id).scans[1].judges_case


def test_a_failure_that_ends_last_is_no_judge(store: OrderStore) -> None:
    """All others are encoded by then."""
    order_id = store.create(a_request(2), queue="gpu").order_id
    encode(store, order_id, 0)
    store.finish(staged(store, order_id, 1), "failed", problem=BROKEN)
    assert store.get(order_id).state == "failed"


def test_a_judge_that_is_lost_is_followed_by_another(broker_settings: BrokerSettings) -> None:
    """As often as a scan may lose its worker; then the order fails, with the vectors kept."""
    store = OrderStore.connect(broker_settings.model_copy(update={"attempts": 2}))
    order_id = an_encoded_case(store)
    work = f"{order_id}.1"
    first = taken(store, work, "classify")
    (message,) = store.take_back("w1", "signal 9", work=work)
    assert (message.stage, message.work) == ("classify", work)
    assert store.get(order_id).scans[1].judges_case
    with pytest.raises(LeaseLostError):
        store.finish_case(first, [{"result": "late"}] * 3)
    assert store.get(order_id).scans[0].result == "results/0"
    taken(store, work, "classify")
    store.take_back("w1", "signal 9", work=work)
    order = store.get(order_id)
    assert (order.state, states(order)[1]) == ("failed", "failed")
    assert order.scans[1].error
    assert order.scans[1].error["code"] == "worker_lost"
    assert [scan.result for scan in order.scans] == ["results/0", "results/1", "results/2"]


def test_a_failed_judge_is_tried_again_without_its_slide(store: OrderStore) -> None:
    """All scans are encoded, and a presigned URL may have expired meanwhile."""
    order_id = an_encoded_case(store, on_scan_failure="deliver_rest")
    claim = taken(store, f"{order_id}.1", "classify")
    store.finish(claim, "failed", problem=Problem("algorithm_raised", "it broke"))
    assert store.get(order_id).state == "failed"
    (message,) = store.retry(order_id)
    assert (message.stage, message.work) == ("classify", f"{order_id}.1")
    order = store.get(order_id)
    assert (order.state, states(order)[1]) == ("queued", "staged")
    assert order.scans[1].judges_case
    assert order.scans[1].error is None
    claim = taken(store, f"{order_id}.1", "classify")
    assert (claim.attempts, store.get(order_id).state) == (1, "running")
    store.finish_case(claim, [{"result": "judged"}] * 3)
    assert store.get(order_id).state == "delivering"


def test_a_judge_gives_its_case_back(store: OrderStore) -> None:
    """A worker that is asked to stop, or whose device has no room now."""
    order_id = an_encoded_case(store)
    claim = taken(store, f"{order_id}.1", "classify")
    (message,) = store.give_back(claim, reason="the worker was asked to stop")
    assert (message.stage, message.attempt) == ("classify", 3)
    order = store.get(order_id)
    assert (states(order)[1], order.scans[1].judges_case) == ("staged", True)


def test_a_case_that_is_cancelled_is_judged_by_nobody(store: OrderStore) -> None:
    """Also not by the worker that holds it; a retry has it judged after all."""
    order_id = an_encoded_case(store)
    claim = taken(store, f"{order_id}.1", "classify")
    store.cancel(order_id)
    with pytest.raises(LeaseLostError):
        store.finish_case(claim, [{"result": "late"}] * 3)
    order = store.get(order_id)
    assert (order.state, order.scans[0].result) == ("cancelled", "results/0")
    (message,) = store.retry(order_id)
    assert (message.stage, message.work) == ("classify", f"{order_id}.1")
    store.finish_case(taken(store, message.work, "classify"), [{"result": "judged"}] * 3)
    assert store.get(order_id).state == "delivering"


def test_a_scan_that_was_not_encoded_ends_a_case_too(store: OrderStore) -> None:
    """The model stopped judging cases meanwhile: whoever judges finds that out and says so."""
    order_id = store.create(a_request(2), queue="gpu").order_id
    encode(store, order_id, 0)
    (message,) = store.finish(staged(store, order_id, 1), "classified", {"result": "r"})
    assert message.stage == "classify"
    assert store.get(order_id).scans[1].judges_case
