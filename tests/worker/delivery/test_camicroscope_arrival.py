"""Marks of an order are in caMicroscope once, whatever is lost on the way."""

from collections.abc import Iterator
from typing import Any

import pytest

from broker.settings.config import BrokerSettings
from demo.camicroscope import CaMicroscopeReceiver
from demo.faults import Fault
from tests.support.courier import PATIENCE_S, READ_TIMEOUT_S, Courier

SLIDE = "5f9ad1c8f4a3b2001d2c1e77"
POST = "POST /data/Mark/post"
LATE_S = READ_TIMEOUT_S + PATIENCE_S * 0.6


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def site() -> Iterator[CaMicroscopeReceiver]:
    with CaMicroscopeReceiver() as receiver:
        yield receiver


def viewer(site: CaMicroscopeReceiver) -> dict[str, Any]:
    return {"type": "camicroscope", "url": site.url, "slide": SLIDE, "token": site.token}


def test_marks_that_are_stored_late_are_stored_once(
    courier: Courier, site: CaMicroscopeReceiver
) -> None:
    """The site says several times that it does not have them, which does not count yet."""
    site.faults.add(Fault(on=POST, slow_s=LATE_S))
    order = courier.deliver_until_it_ends(courier.to_deliver(viewer(site)))
    assert order.state == "delivered"
    assert [attempt.outcome for attempt in order.attempts] == ["found"]
    (run,) = site.runs(SLIDE)
    assert run.sha256 == order.payload["digest"]


def test_marks_that_did_not_arrive_are_sent_again_after_the_patience(
    courier: Courier, site: CaMicroscopeReceiver
) -> None:
    """Not before: they might still arrive."""
    site.faults.add(Fault(on=POST, cut="before"))
    order = courier.deliver_until_it_ends(courier.to_deliver(viewer(site)))
    assert [attempt.outcome for attempt in order.attempts] == ["missing", "accepted"]
    assert order.attempts[1].at - order.attempts[0].at > PATIENCE_S
    (run,) = site.runs(SLIDE)
    assert run.sha256 == order.payload["digest"]


def test_an_insert_that_stored_a_part_is_completed(
    courier: Courier, site: CaMicroscopeReceiver
) -> None:
    """The answer 500 says that it is not whole; the rest is sent at once."""
    site.stored_before_failure = [4, 2]
    order = courier.deliver_until_it_ends(courier.to_deliver(viewer(site)))
    assert [attempt.outcome for attempt in order.attempts] == ["later", "later", "accepted"]
    (run,) = site.runs(SLIDE)
    assert run.sha256 == order.payload["digest"]


def test_a_part_that_is_stored_while_its_courier_dies_is_found(
    courier: Courier, site: CaMicroscopeReceiver
) -> None:
    """Nothing of the attempt but its beginning is on record."""
    order_id = courier.to_deliver(viewer(site))
    courier.attempt(order_id)
    documents = list(site.documents["Mark"])
    again = courier.to_deliver(viewer(site) | {"slide": "another"})
    claim = courier.claimed(again)
    sending = {"digest": "d", "outcome": "unknown", "error": "sent; no answer yet"}
    courier.store.note(claim, attempt=(0, sending))
    for one in documents:
        about = one["slidelane"] | {"order": again, "part": f"{again}.0"}
        analysis = one["provenance"]["analysis"] | {"execution_id": f"slidelane:{again}"}
        provenance = {"image": {"slide": "another"}, "analysis": analysis}
        site.documents["Mark"].append(one | {"slidelane": about, "provenance": provenance})
    courier.store.take_back("w", "signal 9")
    order = courier.deliver_until_it_ends(again)
    assert (order.state, order.attempts[0].outcome) == ("delivered", "found")
    assert len(site.runs("another")) == 1


def test_results_of_which_a_new_token_delivers_the_rest(
    courier: Courier, site: CaMicroscopeReceiver
) -> None:
    """The token expired in between; what is there already is not sent again."""
    site.stored_before_failure = [4]
    order_id = courier.to_deliver(viewer(site))
    courier.attempt(order_id)
    old_token = site.token
    site.token = "the-new-one"
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, order.attempts[-1].status) == ("undelivered", 401)
    assert old_token not in str(order.error)
    destination = order.request.resolved_destination.model_copy(update={"token": None})
    whole = destination.model_dump(context={"reveal": True}) | {"token": "the-new-one"}
    courier.store.deliver_again(order_id, "", type(destination).model_validate(whole))
    order = courier.deliver_until_it_ends(order_id)
    assert order.state == "delivered"
    (run,) = site.runs(SLIDE)
    assert run.sha256 == order.payload["digest"]
