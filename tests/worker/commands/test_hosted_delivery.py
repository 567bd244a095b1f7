"""A hosted scan posts once, without a record: it asks what Techcyte has."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from broker.orders.request import TechcyteDestination
from broker.settings.config import DeliverySettings
from demo.faults import Fault
from demo.techcyte import EVALUATIONS, RESULTS, TechcyteReceiver
from tests.support.results import a_result
from worker.commands.events import EventWriter
from worker.commands.hosted_delivery import HostedDelivery
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.http_session import session

POST = f"POST {RESULTS}"
GET = f"GET {EVALUATIONS}"


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver({"185714": {"8946136"}}) as server:
        yield server


class Hosted:
    """The delivery of one result to the lab, and the lines that it writes."""

    def __init__(self, lab: TechcyteReceiver, folder: Path, **settings: Any) -> None:
        deliver = {
            "read_timeout_s": 0.5, "first_retry_s": 0.01, "max_retry_s": 0.05,
            "unknown_patience_s": 0.4,
        } | settings  # fmt: skip
        self.settings = DeliverySettings(**deliver)
        request = TechcyteDestination.model_validate(
            {"type": "techcyte", "base_url": lab.url, "task_id": "185714",
             "jwt_token": lab.jwt_token}
        )  # fmt: skip
        http = session(("127.0.0.1",), connect_timeout_s=1, read_timeout_s=0.5, encrypted_only=True)
        self.destination = Techcyte(request, http, self.settings)
        self.payload = self.destination.build_payload([a_result()], folder / "post.json")
        self.stream = io.StringIO()

    def deliver(self, limit_s: float = 60) -> str:
        events = EventWriter(self.stream)
        delivery = HostedDelivery(self.destination, self.settings, limit_s, events)
        return delivery.deliver(self.payload, "ord-1")

    @property
    def lines(self) -> list[str]:
        return [json.loads(line)["text"] for line in self.stream.getvalue().splitlines()]


def test_results_are_posted_once(lab: TechcyteReceiver, tmp_path: Path) -> None:
    """A container that is started again for the same task finds them there."""
    hosted = Hosted(lab, tmp_path)
    assert hosted.deliver() == "posted, answered 201"
    assert Hosted(lab, tmp_path).deliver().startswith("the task has these results already")
    assert len(lab.ledger) == 1
    assert hosted.lines == ["post 1: accepted (201)"]


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(on=POST, cut="after")],
        [Fault(on=POST, cut="before")],
        [Fault(on=POST, page="after")],
        [Fault(on=POST, page="instead")],
        [Fault(on=POST, slow_s=0.7)],
        [Fault(on=POST, status=503, times=2)],
        [Fault(on=POST, cut="after"), Fault(on=GET, page="instead")],
        [Fault(on=GET, status=500)],
    ],
    ids=["lost", "cut", "page", "no post", "late", "busy", "page for a list", "not asked"],
)
def test_a_lost_answer_is_no_second_evaluation(
    lab: TechcyteReceiver, tmp_path: Path, faults: list[Fault]
) -> None:
    """It is asked before anything is posted a second time."""
    hosted = Hosted(lab, tmp_path)
    lab.faults.replace(faults)
    assert hosted.deliver().startswith("posted")
    assert len(lab.ledger) == len(lab.evaluations) == 1


def test_a_refusal_is_final(lab: TechcyteReceiver, tmp_path: Path) -> None:
    """Techcyte's answer is in the detail."""
    hosted = Hosted(lab, tmp_path)
    lab.faults.add(Fault(on=POST, status=400))
    with pytest.raises(OrderError, match="answered 400") as caught:
        hosted.deliver()
    assert (caught.value.code, lab.ledger) == ("destination_refused", [])


def test_silence_ends_at_the_limit(lab: TechcyteReceiver, tmp_path: Path) -> None:
    """A container that waits for ever would be ended without a word."""
    hosted = Hosted(lab, tmp_path)
    lab.faults.add(Fault(on=POST, status=503, times=1000))
    with pytest.raises(OrderError) as caught:
        hosted.deliver(limit_s=0.3)
    assert caught.value.code == "destination_unreachable"


def test_a_post_of_unknown_fate_is_not_repeated_blindly(
    lab: TechcyteReceiver, tmp_path: Path
) -> None:
    """Where the list may not be read, nobody can say whether it arrived."""
    hosted = Hosted(lab, tmp_path)
    lab.faults.replace([Fault(on=GET, status=403, times=1000), Fault(on=POST, cut="after")])
    with pytest.raises(OrderError) as caught:
        hosted.deliver()
    assert (caught.value.code, len(lab.ledger)) == ("delivery_unknown", 1)
