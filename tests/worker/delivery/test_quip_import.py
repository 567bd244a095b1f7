"""An annotation is delivered once its importer says so, and what is said where it does not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from broker.errors import OrderError
from broker.settings.config import BrokerSettings
from demo.annotation import SUBMIT, SUBMIT_MASK, AnnotationReceiver
from demo.faults import Fault
from services.responses.views import order_view
from tests.support.courier import PATIENCE_S, Courier
from tests.support.destinations import a_destination
from tests.support.receivers import PathReceiver
from tests.support.results import AREA, FRAME, a_result
from worker.geometry.frame import Area

JOB = "GET /job/"


@pytest.fixture
def courier(broker_settings: BrokerSettings) -> Courier:
    return Courier(broker_settings)


@pytest.fixture
def loader() -> Iterator[AnnotationReceiver]:
    with AnnotationReceiver() as receiver:
        yield receiver


def case(loader: AnnotationReceiver) -> dict[str, Any]:
    return {
        "type": "annotation",
        "url": loader.url + SUBMIT,
        "case_id": "C1",
        "confirm_url": f"{loader.url}/job/{{id}}",
    }


def test_it_is_delivered_only_once_the_importer_says_so(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """Meanwhile no thread is held, and the order says what it waits for."""
    order_id = courier.to_deliver(case(loader))
    courier.attempt(order_id)
    order = courier.store.get(order_id)
    view = order_view(order, courier.store.waits(order))
    assert (view.state, view.delivery.state) == ("delivering", "asking")
    (attempt,) = view.delivery.attempts
    assert (attempt.outcome, attempt.remote_id) == ("queued", "1")
    assert attempt.error == "queued as job 1, which is not imported yet"
    order = courier.deliver_until_it_ends(order_id)
    assert order.state == "delivered"
    assert [(one.outcome, one.error) for one in order.attempts] == [("accepted", "")]
    assert len(loader.ledger) == 1
    assert "asked the importer: job 1 is active" in courier.log(order_id)


def test_another_courier_goes_on_asking(
    courier: Courier, loader: AnnotationReceiver, broker_settings: BrokerSettings
) -> None:
    """The job is on record: after a restart nothing is sent again."""
    order_id = courier.to_deliver(case(loader))
    courier.attempt(order_id)
    courier.claimed(order_id)
    courier.store.take_back("w", "signal 9")
    order = Courier(broker_settings).deliver_until_it_ends(order_id)
    assert (order.state, len(loader.ledger)) == ("delivered", 1)


def test_an_import_that_failed_is_told_in_its_words(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """And may be delivered again, which sends it again."""
    loader.import_error = "E2Could not find the image\n at loader.js:9"
    order = courier.deliver_until_it_ends(courier.to_deliver(case(loader)))
    assert order.state == "undelivered"
    assert order.error
    assert order.error["code"] == "destination_refused"
    assert order.error["detail"].startswith("the importer failed at job 1: E2Could not find")
    assert [attempt.outcome for attempt in order.attempts] == ["refused"]
    loader.import_error = ""
    courier.store.deliver_again(order.id)
    assert courier.deliver_until_it_ends(order.id).state == "delivered"
    assert len(loader.ledger) == 2


def test_an_importer_that_is_away_is_asked_until_it_is_back(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """Cut connections, pages and 503 say nothing of the job."""
    loader.faults.replace(
        [Fault(on=JOB, cut="before"), Fault(on=JOB, page="instead"), Fault(on=JOB, status=503)]
    )
    order = courier.deliver_until_it_ends(courier.to_deliver(case(loader)))
    assert (order.state, len(loader.ledger)) == ("delivered", 1)


def test_a_job_that_nobody_knows_any_more_leaves_the_end_open(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """It may have been removed after it was complete; so nobody says `delivered`, or sends again."""
    order_id = courier.to_deliver(case(loader))
    courier.attempt(order_id)
    loader.jobs.clear()
    order = courier.deliver_until_it_ends(order_id)
    assert (order.state, len(loader.ledger)) == ("undelivered", 1)
    assert order.error
    assert order.error["code"] == "delivery_unknown"
    assert 'job "1" doesnt exist' in order.error["detail"].replace("\\", "")
    assert order.updated_at - order.attempts[0].at > PATIENCE_S


def test_a_lost_answer_of_the_loader_cannot_be_cleared_up(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """Without the id of the job nobody can be asked: the order says so, and nothing is doubled."""
    loader.faults.add(Fault(cut="after"))
    order = courier.deliver_until_it_ends(courier.to_deliver(case(loader)))
    assert (order.state, len(loader.ledger)) == ("undelivered", 1)
    assert order.error
    assert order.error["code"] == "delivery_unknown"


def test_a_cancelled_order_waits_for_the_importer(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """What is queued cannot be called back: it is imported, and so delivered."""
    order_id = courier.to_deliver(case(loader))
    courier.attempt(order_id)
    courier.store.cancel(order_id)
    assert courier.store.get(order_id).state == "delivering"
    assert courier.deliver_until_it_ends(order_id).state == "delivered"


def test_an_order_that_expires_meanwhile_says_what_is_not_known(
    courier: Courier, loader: AnnotationReceiver
) -> None:
    """Its job may still be imported."""
    order_id = courier.to_deliver(case(loader))
    courier.attempt(order_id)
    claim = courier.claimed(order_id)
    courier.store.note(claim, {"expires_at": 1})
    courier.store.give_back(claim)
    courier.store.due()
    order = courier.store.get(order_id)
    assert order.state == "undelivered"
    assert order.error
    assert order.error["code"] == "delivery_unknown"
    assert "queued as job 1" in order.error["detail"]


@pytest.mark.parametrize("job", ["..", "1/../../admin", "7?x=1", "é"])
def test_an_id_that_would_be_another_address_is_not_asked_after(job: str, tmp_path: Path) -> None:
    """The loader's answer does not choose what is requested."""
    with PathReceiver() as receiver:
        receiver.answers["/zip"] = (200, f'{{"Job": {{"id": "{job}"}}}}'.encode())
        destination = a_destination(
            type="annotation",
            url=receiver.url("/zip"),
            case_id="C1",
            confirm_url=receiver.url("/job/{id}"),
        )
        payload = destination.build_payload([a_result()], tmp_path / "payload")
        receipt = destination.post(payload)
    assert (receipt.outcome, receipt.status) == ("unknown", 200)
    assert "could be asked for" in receipt.detail


def test_a_mask_is_what_the_other_address_takes(tmp_path: Path) -> None:
    """Its place on the slide, the slide's size, and 255 where an object is."""
    with AnnotationReceiver() as loader:
        destination = a_destination(
            type="annotation",
            url=loader.url + SUBMIT_MASK,
            case_id="C1",
            execution_id="seg:r1",
        )
        payload = destination.build_payload([a_result()], tmp_path / "payload")
        assert destination.post(payload).outcome == "accepted"
        note = loader.ledger[0].note
    assert (note["x"], note["y"]) == (str(AREA.x), str(AREA.y))
    assert (note["width"], note["height"]) == (str(FRAME.width), str(FRAME.height))
    assert (note["case_id"], note["execution_id"]) == ("C1", "seg:r1")
    body = payload.path.read_bytes()
    png = body[body.index(b"\x89PNG") :]
    mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    assert mask.shape == (AREA.height, AREA.width)
    assert set(np.unique(mask).tolist()) == {0, 255}


@pytest.mark.parametrize("scans", ["two", "large"])
def test_a_mask_that_is_impossible_is_refused(scans: str, tmp_path: Path) -> None:
    """One region of at most 16 megapixels is one mask."""
    results = [a_result(), a_result(scan_id="2")]
    if scans == "large":
        results = [a_result(area=Area(0, 0, 60_000, 40_000))]
    destination = a_destination(
        type="annotation", url="https://loader.example/submitMaskOrder", case_id="C1"
    )
    with pytest.raises(OrderError) as caught:
        destination.build_payload(results, tmp_path / "payload")
    assert (caught.value.code, caught.value.blame) == ("parcel_invalid", "input")
