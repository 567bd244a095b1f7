"""What follows results at Techcyte: after they stand, repeated after a loss, undoing nothing."""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from broker.settings.config import BrokerSettings
from demo.faults import Fault
from demo.techcyte import CASE, DEBUG, RESULTS, TechcyteReceiver
from services.responses.views import order_view
from tests.support.courier import Courier
from tests.support.destinations import TOKEN, a_techcyte
from tests.support.receivers import PathReceiver

PATCH = f"PATCH {CASE}"
PUT = f"PUT {DEBUG}"
BOTH = ["results 1", "case 1", "debug debug.zip"]


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(any_task=True) as receiver:
        yield receiver


def task(lab: TechcyteReceiver, **fields: Any) -> dict[str, Any]:
    return {
        "type": "techcyte", "base_url": lab.url, "task_id": "1", "jwt_token": lab.jwt_token,
        "triage": {"category": "High", "score": 0.5}, "debug_file_upload_url": lab.debug_url(),
    } | fields  # fmt: skip


def warnings_of(courier: Courier, order_id: str) -> dict[str, str]:
    """Return the warnings of an order by code, as a caller sees them."""
    view = order_view(courier.store.get(order_id))
    return {one.code: one.detail for one in view.warnings}


def test_triage_and_debug_file_follow_the_results(courier: Courier, lab: TechcyteReceiver) -> None:
    """In this order, once each; the zip holds the log, the results and the overlay."""
    order_id = courier.to_deliver(task(lab))
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, lab.changes) == ("delivered", BOTH)
    assert lab.triage == {"1": {"triage_category": "High", "triage_score": 0.5}}
    with zipfile.ZipFile(io.BytesIO(lab.debug_files["debug.zip"])) as packed:
        assert set(packed.namelist()) == {"order.log", "1/results.json", "1/overlay.png"}
        assert json.loads(packed.read("1/results.json"))["order"] == order_id
        log = packed.read("order.log").decode()
    assert "delivery attempt 1: accepted (201)" in log
    assert warnings_of(courier, order_id) == {}
    shown = json.dumps(order_view(order).model_dump(mode="json")) + log + courier.log(order_id)
    for secret in ("5160ed", lab.jwt_token):
        assert secret not in shown


@pytest.mark.parametrize("status", [403, 404, 200], ids=str)
def test_a_refused_triage_undoes_nothing(
    courier: Courier, lab: TechcyteReceiver, status: int
) -> None:
    """The right to change a case may be missing where the results were taken."""
    lab.faults.add(Fault(on=PATCH, status=status, times=3))
    order_id = courier.to_deliver(task(lab))
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, len(order.attempts), len(lab.ledger)) == ("delivered", 1, 1)
    warned = warnings_of(courier, order_id)
    assert list(warned) == ["triage_not_set"]
    assert f"answered {status}" in warned["triage_not_set"]
    assert lab.changes == ["results 1", "debug debug.zip"]
    assert f"warning triage_not_set: the results were taken; answered {status}" in courier.log(
        order_id
    )


@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": "before"}, {"cut": "after"}], ids=str)
def test_what_may_succeed_is_tried_again(
    courier: Courier, lab: TechcyteReceiver, fault: dict[str, Any]
) -> None:
    """To repeat either changes nothing, so a lost answer is no doubt."""
    lab.faults.replace([Fault(on=PATCH, **fault), Fault(on=PUT, **fault)])
    order_id = courier.to_deliver(task(lab))
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    assert set(lab.changes) == set(BOTH)
    assert warnings_of(courier, order_id) == {}


@pytest.mark.parametrize("status", [201, 204, 403, 500], ids=str)
def test_a_debug_file_counts_with_200_alone(
    courier: Courier, lab: TechcyteReceiver, status: int
) -> None:
    """Its failure undoes nothing, and shows no signature."""
    lab.faults.add(Fault(on=PUT, status=status, times=3))
    order_id = courier.to_deliver(task(lab))
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    warned = warnings_of(courier, order_id)
    assert list(warned) == ["debug_file_not_uploaded"]
    assert "5160ed" not in str(warned) + courier.log(order_id)


def test_nothing_follows_results_that_do_not_stand(courier: Courier, lab: TechcyteReceiver) -> None:
    """Refused results have neither triage nor debug file."""
    lab.faults.add(Fault(on=f"POST {RESULTS}", status=400))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert (order.state, lab.changes) == ("undelivered", [])


def test_results_that_are_found_are_followed_too(courier: Courier, lab: TechcyteReceiver) -> None:
    """The answer to the post was lost: asked, Techcyte has them, and the rest is done."""
    lab.faults.add(Fault(on=f"POST {RESULTS}", cut="after"))
    order = courier.deliver_until_it_ends(courier.to_deliver(task(lab)))
    assert (order.state, lab.changes) == ("delivered", BOTH)
    assert [attempt.outcome for attempt in order.attempts] == ["found"]


def test_a_courier_lost_before_the_triage_leaves_it_to_the_next(
    courier: Courier, lab: TechcyteReceiver
) -> None:
    """The results are on record as accepted: they are not sent again, and the rest is done."""
    order_id = courier.to_deliver(task(lab))
    accepted = {"digest": "0" * 64, "outcome": "accepted", "status": 201, "follow_up": True}
    courier.store.note(courier.claimed(order_id), attempt=(0, accepted))
    courier.store.take_back("w", "signal 9")
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, len(order.attempts)) == ("delivered", 1)
    assert lab.changes == BOTH[1:]


def test_a_figure_that_no_scan_has_is_a_warning(courier: Courier, lab: TechcyteReceiver) -> None:
    """Nothing is set instead."""
    order_id = courier.to_deliver(task(lab, triage={"score": "tumor_share"}))
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    assert "'tumor_share'" in warnings_of(courier, order_id)["triage_not_set"]
    assert lab.triage == {}


def test_a_debug_file_is_bounded(broker_settings: BrokerSettings, lab: TechcyteReceiver) -> None:
    """What does not fit is named instead."""
    courier = Courier(broker_settings, techcyte={"debug_max_bytes": 10_000})
    overlay = courier.data / "results" / "1" / "overlay.png"
    order_id = courier.to_deliver(task(lab))
    overlay.write_bytes(bytes(20_000))
    assert courier.deliver_until_it_ends(order_id).state == "delivered"
    with zipfile.ZipFile(io.BytesIO(lab.debug_files["debug.zip"])) as packed:
        assert "1/overlay.png" not in packed.namelist()
        assert "1/overlay.png (20,000 bytes)" in packed.read("left-out.txt").decode()


def test_a_debug_file_is_sent_with_its_length_and_without_a_token(tmp_path: Any) -> None:
    """S3 takes neither chunks nor a second way of signing in; a signed content type is sent."""
    file = tmp_path / "debug.zip"
    file.write_bytes(b"PK content")
    with PathReceiver() as receiver:
        receiver.answers["/bucket/debug.zip"] = (200, b"")
        url = receiver.url("/bucket/debug.zip?X-Amz-Signature=5160ed")
        signed = f"{url}&X-Amz-SignedHeaders=content-type%3Bhost"
        for address in (url, signed):
            destination = a_techcyte(receiver.url(""), debug_file_upload_url=address)
            assert destination.put_debug_file(file).outcome == "accepted"  # type: ignore[attr-defined]
        (_, _, first, body), (_, _, second, _) = receiver.requests
    assert body == b"PK content"
    assert first["Content-Length"] == "10"
    assert "Authorization" not in first
    assert "Transfer-Encoding" not in first
    assert "Content-Type" not in first
    assert second["Content-Type"] == "application/zip"
    assert TOKEN not in str(first)
