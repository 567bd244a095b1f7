"""Techcyte as a destination: one post, and the question whether it arrived."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.destinations import PARCEL, TASK, TOKEN, to, to_techcyte
from tests.support.receivers import Receiving
from tests.support.results import a_result, nuclei
from worker.delivery.destinations.techcyte.client import task_segment


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    with Receiving() as server:
        yield server


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(
        {"185714": {"8946136", "2"}}, jwt_token=TOKEN, api_key_secret="s3cr3t-key"
    ) as server:
        yield server


def test_results_are_posted_once_and_found_again(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """A strict receiver takes the parcel, and only then says that it has the order's results."""
    there = to_techcyte(lab.url)
    assert there.arrived("ord-1") is False
    parcel = there.pack([a_result(), a_result(nuclei(2), scan_id="2")], tmp_path / "parcel")
    receipt = there.post(parcel)
    assert (receipt.outcome, receipt.status) == ("accepted", 201)
    assert there.arrived("ord-1") is True
    assert there.arrived("ord-") is False
    (entry,) = lab.ledger
    assert entry.bytes == parcel.path.stat().st_size


def test_an_answer_lost_after_the_commit_is_cleared_up(
    tmp_path: Path, lab: TechcyteReceiver
) -> None:
    """The post is unknown, the question afterwards says yes."""
    lab.faults.add(Fault(cut="after"))
    there = to_techcyte(lab.url)
    assert there.post(there.pack([a_result()], tmp_path / "parcel")).outcome == "unknown"
    assert there.arrived("ord-1") is True


def test_no_connection_is_used_twice(lab: TechcyteReceiver) -> None:
    """A server that ends each connection after its answer never makes the next request look lost."""
    there = to_techcyte(lab.url)
    assert [there.arrived("ord-1") for _ in range(300)] == [False] * 300


def test_a_trailing_slash_changes_nothing(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """The address may end in slashes."""
    there = to_techcyte(lab.url + "//")
    assert there.post(there.pack([a_result()], tmp_path / "parcel")).outcome == "accepted"


def test_an_api_key_is_exchanged_for_a_token(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """With a key in place of a token the parcel arrives all the same."""
    key = {"api_key_id": lab.api_key_id, "api_key_secret": "s3cr3t-key", "jwt_token": None}
    there = to_techcyte(lab.url, **key)
    assert there.post(there.pack([a_result()], tmp_path / "parcel")).outcome == "accepted"
    assert there.arrived("ord-1") is True


def test_a_wrong_api_key_is_refused(lab: TechcyteReceiver) -> None:
    """The receipt says that it was the key, and holds none of it."""
    there = to_techcyte(lab.url, jwt_token=None, api_key_id="me", api_key_secret="wr0ng-secret")
    receipt = there.post(PARCEL)
    assert (receipt.outcome, receipt.status) == ("refused", 401)
    assert receipt.detail.startswith("no token for the API key: answered 401")
    assert "wr0ng" not in receipt.detail


@pytest.mark.parametrize(
    "fault", [Fault(cut="after"), Fault(cut="before"), Fault(status=502), Fault(status=503)]
)
def test_trouble_with_the_token_never_leaves_the_results_in_doubt(
    lab: TechcyteReceiver, fault: Fault
) -> None:
    """The results were not sent yet, so it is always safe to come again."""
    lab.faults.add(fault)
    key = {"api_key_id": lab.api_key_id, "api_key_secret": "s3cr3t-key", "jwt_token": None}
    assert to_techcyte(lab.url, **key).post(PARCEL).outcome == "later"


def test_a_key_answered_without_a_token_is_tried_again(receiving: Receiving) -> None:
    """A 200 that is not success is no token."""
    receiving.answers["/api/v3/token"] = (200, b'["access_token"]')
    there = to_techcyte(
        receiving.url(""), jwt_token=None, api_key_id="me", api_key_secret="s3cr3t-key"
    )
    assert there.post(PARCEL).outcome == "later"


@pytest.mark.parametrize(
    ("status", "body", "arrived"),
    [
        (200, b"[]", False),
        (200, b'[{"details": {"report": {"order_id": "ord-11"}}}]', False),
        (200, b'[{"details": {"report": {"order_id": "ord-1"}}}]', True),
        (200, b'[[[{"x": [null, 1, "ord-1"]}]]]', True),
        (200, b'{"error": "no such task"}', None),
        (200, b"<html>sign in</html>", None),
        (200, b"[" * 100_000, None),
        (404, b"[]", None),
    ],
)
def test_only_a_list_of_evaluations_answers_the_question(
    receiving: Receiving, status: int, body: bytes, arrived: object
) -> None:
    """Anything else leaves it open: a wrong no would deliver twice."""
    receiving.answers["/api/v3/external/case_evaluations/185714"] = (status, body)
    assert to_techcyte(receiving.url("")).arrived("ord-1") is arrived


def test_silence_leaves_the_question_open() -> None:
    """Nobody answered, so nobody said no: it is asked again later, and nothing is sent meanwhile."""
    with Receiving() as gone:
        url = gone.url("")
        gone.answers["/api/v3/external/case_evaluations/185714"] = (500, b"")
        with pytest.raises(TemporaryError, match="500"):
            to_techcyte(url).arrived("ord-1")
    with pytest.raises(TemporaryError):
        to_techcyte(url).arrived("ord-1")


@pytest.mark.parametrize(
    ("task_id", "segment"),
    [
        (TASK, "185714"),
        ("185714", "185714"),
        ("a/b+c==", "a%2Fb%2Bc%3D%3D"),
        (base64.b64encode(b"task:7/../8").decode(), "dGFzazo3Ly4uLzg%3D"),
        ("täsk", "t%C3%A4sk"),
    ],
)
def test_a_task_id_becomes_one_part_of_the_address(task_id: str, segment: str) -> None:
    """The base64 of task:NUMBER is its number; anything else is percent-encoded whole."""
    assert task_segment(task_id) == segment


def test_a_host_is_spoken_to_at_its_api() -> None:
    """The API of a host is at api.HOST, over https."""
    receipt = to(type="techcyte", host="lab.invalid", task_id=TASK, jwt_token=TOKEN).post(PARCEL)
    assert receipt.outcome == "later"
    assert "api.lab.invalid" in receipt.detail
