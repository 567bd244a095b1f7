"""An end is true: what is asked, and for how long, before an order counts as delivered or not."""

from collections.abc import Iterator
from typing import Any

import pytest

from broker.settings.config import BrokerSettings
from demo.annotation import SUBMIT, AnnotationReceiver
from demo.faults import Fault
from demo.techcyte import EVALUATIONS, RESULTS, TechcyteReceiver
from services.responses.views import order_view
from tests.support.courier import PATIENCE_S, READ_TIMEOUT_S, Courier
from tests.support.webhooks import SECRET, WebhookReceiver

POST = f"POST {RESULTS}"
GET = f"GET {EVALUATIONS}"
LATE_S = READ_TIMEOUT_S + PATIENCE_S * 0.6
"""A destination that stores the results so late is asked in vain before."""


class CountingLab(TechcyteReceiver):
    """Counts how often it is asked what it has."""

    def __init__(self) -> None:
        super().__init__(any_task=True)
        self.asked = 0

    def answer(self, request: Any) -> Any:
        self.asked += request.path.startswith(EVALUATIONS)
        return super().answer(request)


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def lab() -> Iterator[CountingLab]:
    with CountingLab() as receiver:
        yield receiver


@pytest.fixture
def loader() -> Iterator[AnnotationReceiver]:
    with AnnotationReceiver() as receiver:
        yield receiver


def task(lab: TechcyteReceiver) -> dict[str, Any]:
    return {"type": "techcyte", "base_url": lab.url, "task_id": "1", "jwt_token": lab.jwt_token}


def case(loader: AnnotationReceiver) -> dict[str, Any]:
    return {"type": "annotation", "url": loader.url + SUBMIT, "case_id": "C1"}


def test_a_destination_that_commits_late_gets_the_results_once(
    courier: Courier, lab: CountingLab
) -> None:
    """It says no several times, and is not sent to again: its no does not count yet."""
    lab.faults.add(Fault(on=POST, slow_s=LATE_S))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["found"]
    assert len(lab.ledger) == 1
    assert lab.asked >= 3
    assert "not yet" in courier.log(order.id)
    assert "found: the destination was asked and has the results" in courier.log(order.id)


def test_while_it_is_asked_the_order_says_so(courier: Courier, lab: CountingLab) -> None:
    """The attempt is `unknown` and the delivery `asking`, not delivered, lost, or sent again."""
    lab.faults.add(Fault(on=POST, cut="before"))
    order_id = courier.to_deliver(task(lab))
    courier.attempt(order_id)
    courier.attempt(order_id)
    order = courier.store.get(order_id)
    view = order_view(order, courier.store.waits(order))
    assert (view.state, view.delivery.state) == ("delivering", "asking")
    assert view.delivery.waiting
    assert view.delivery.waiting.reason.startswith("asking whether it arrived; tried again in")
    assert [attempt.outcome for attempt in view.delivery.attempts] == ["unknown"]
    order = courier.deliver_until_it_ends(order_id)
    assert [attempt.outcome for attempt in order.attempts] == ["missing", "accepted"]
    assert order.attempts[1].at - order.attempts[0].at > PATIENCE_S
    assert len(lab.ledger) == 1


def test_a_login_page_is_no_delivery(courier: Courier, lab: CountingLab) -> None:
    """It answered 200 for the destination, which has nothing. The results are sent again."""
    lab.faults.add(Fault(on=POST, page="instead"))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["untrue", "accepted"]
    assert order.attempts[0].status == 200
    assert "text/html" in order.attempts[0].error
    assert len(lab.ledger) == 1


def test_results_that_arrived_behind_a_page_are_found(courier: Courier, lab: CountingLab) -> None:
    """A proxy replaced the answer; the destination has the results, and gets them once."""
    lab.faults.add(Fault(on=POST, page="after"))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert (order.state, len(lab.ledger)) == ("delivered", 1)
    assert [attempt.outcome for attempt in order.attempts] == ["found"]


def test_a_destination_that_always_says_yes_and_has_nothing_ends_the_order(
    courier: Courier, lab: CountingLab
) -> None:
    """After `worker.deliver.untrue_attempts` attempts, each asked after."""
    lab.faults.add(Fault(on=POST, times=9, page="instead"))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert order.state == "undelivered"
    assert [attempt.outcome for attempt in order.attempts] == ["untrue"] * 3
    assert order.error
    assert (order.error["code"], order.error["blame"]) == (
        "destination_answer_untrue",
        "destination",
    )
    assert "answered 200 text/html" in order.error["detail"]
    assert lab.ledger == []
    lab.faults.replace([])
    courier.store.deliver_again(order.id)
    assert courier.deliver_until_it_ends(order.id).state == "delivered"
    assert len(lab.ledger) == 1


def test_a_page_does_not_answer_the_question_either(courier: Courier, lab: CountingLab) -> None:
    """Behind a captive portal every answer is a page: nothing is sent again, nothing is decided."""
    lab.faults.replace([Fault(on=POST, cut="after"), Fault(on=GET, page="instead")])
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert (order.state, len(lab.ledger)) == ("delivered", 1)
    assert [attempt.outcome for attempt in order.attempts] == ["found"]
    assert "no list of evaluations" in courier.log(order.id)


def test_a_loader_behind_a_page_leaves_the_end_open(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """It cannot be asked, so nobody says `delivered`, and nothing is sent twice."""
    loader.faults.add(Fault(page="after"))
    order = courier.deliver_until_it_ends(courier.to_deliver(case(loader)))
    assert order.state == "undelivered"
    assert order.error
    assert order.error["code"] == "delivery_unknown"
    assert "answered 200 text/html" in order.error["detail"]
    assert len(loader.ledger) == 1


def test_the_job_of_a_loader_is_kept(courier: Courier, loader: AnnotationReceiver) -> None:
    """Its id is shown with the attempt: the operator finds the job by it."""
    order = courier.deliver_until_it_ends(courier.to_deliver(case(loader)))
    assert order.attempts[0].remote_id == "1"
    assert order_view(order).delivery.attempts[0].remote_id == "1"


def test_no_connection_is_not_asked_after(courier: Courier, lab: CountingLab) -> None:
    """Nothing was sent: the results are sent as soon as the destination is there."""
    with TechcyteReceiver() as gone:
        url = gone.url
    order_id = courier.to_deliver(task(lab) | {"base_url": url})
    courier.attempt(order_id)
    (attempt,) = courier.store.get(order_id).attempts
    assert (attempt.outcome, attempt.status) == ("later", None)
    assert not attempt.is_uncertain


def test_a_cancelled_order_waits_for_the_truth(courier: Courier, lab: CountingLab) -> None:
    """Its results may still arrive: it is cancelled only once the no counts."""
    lab.faults.add(Fault(on=POST, slow_s=LATE_S))
    order_id = courier.to_deliver(task(lab))
    courier.attempt(order_id)
    courier.store.cancel(order_id)
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, len(lab.ledger)) == ("delivered", 1)


def test_an_order_that_expires_after_an_untrue_answer_says_so(
    broker_settings: BrokerSettings, lab: CountingLab
) -> None:
    """The last that is known of its delivery is its code."""
    courier = Courier(broker_settings, untrue_attempts=9, max_retry_s=0.01)
    order_id = courier.to_deliver(task(lab))
    untrue = {"digest": "0" * 64, "status": 200, "outcome": "untrue", "error": "answered 200"}
    claim = courier.claimed(order_id)
    courier.store.note(claim, {"expires_at": 1}, attempt=(0, untrue))
    courier.store.give_back(claim)
    courier.store.due()
    order = courier.store.get(order_id)
    assert order.state == "undelivered"
    assert order.error
    assert order.error["code"] == "destination_answer_untrue"


def test_a_webhook_whose_courier_was_lost_is_called_again(courier: Courier) -> None:
    """By the id of the message the receiver knows that it is the same; nobody is asked."""
    with WebhookReceiver() as receiver:
        hook = {"type": "webhook", "url": f"{receiver.url}/hook", "secret": SECRET}
        order_id = courier.to_deliver(hook)
        claim = courier.claimed(order_id)
        sending = {"digest": "d", "outcome": "unknown", "error": "sent; no answer yet"}
        courier.store.note(claim, attempt=(0, sending))
        courier.store.take_back("w", "signal 9")
        order = courier.deliver_until_it_ends(order_id)
        assert order.state == "delivered"
        assert [attempt.outcome for attempt in order.attempts] == ["unknown", "accepted"]
        assert len(receiver.calls) == 1
