"""Techcyte as a destination: one post, and reading back whether it arrived."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.destinations import PAYLOAD, TASK, TOKEN, a_destination, a_techcyte
from tests.support.receivers import PathReceiver
from tests.support.results import a_result, nuclei
from worker.delivery.destinations.techcyte.api import task_segment


@pytest.fixture
def receiver() -> Iterator[PathReceiver]:
    with PathReceiver() as server:
        yield server


@pytest.fixture
def lab() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver(
        {"185714": {"8946136", "2"}}, jwt_token=TOKEN, api_key_secret="s3cr3t-key"
    ) as server:
        yield server


def test_results_are_posted_once_and_found_again(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """A strict receiver takes the payload, and only then says that it has the results."""
    destination = a_techcyte(lab.url)
    assert destination.has_received("ord-1") is False
    payload = destination.build_payload(
        [a_result(), a_result(nuclei(2), scan_id="2")], tmp_path / "payload"
    )
    receipt = destination.post(payload)
    assert (receipt.outcome, receipt.status) == ("accepted", 201)
    assert destination.has_received("ord-1") is True
    assert destination.has_received("ord-") is False
    (entry,) = lab.ledger
    assert entry.bytes == payload.path.stat().st_size


def test_an_answer_lost_after_the_commit_is_cleared_up(
    tmp_path: Path, lab: TechcyteReceiver
) -> None:
    """The post is unknown, and reading back afterwards says yes."""
    lab.faults.add(Fault(cut="after"))
    destination = a_techcyte(lab.url)
    assert (
        destination.post(destination.build_payload([a_result()], tmp_path / "payload")).outcome
        == "unknown"
    )
    assert destination.has_received("ord-1") is True


def test_no_connection_is_used_twice(lab: TechcyteReceiver) -> None:
    """A server may close after each answer; the next request does not look lost."""
    destination = a_techcyte(lab.url)
    assert [destination.has_received("ord-1") for _ in range(300)] == [False] * 300


def test_a_trailing_slash_changes_nothing(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """The address may end in slashes."""
    destination = a_techcyte(lab.url + "//")
    assert (
        destination.post(destination.build_payload([a_result()], tmp_path / "payload")).outcome
        == "accepted"
    )


@pytest.mark.parametrize("path", ["/api/v3", "/api/v3/", "//api/v3//"])
def test_the_address_of_the_api_itself_is_understood(
    tmp_path: Path, lab: TechcyteReceiver, path: str
) -> None:
    """Techcyte's manual names its API with `/api/v3`; that is not added a second time."""
    destination = a_techcyte(lab.url + path)
    payload = destination.build_payload([a_result()], tmp_path / "payload")
    assert destination.post(payload).outcome == "accepted"
    assert destination.has_received("ord-1") is True


def test_an_api_key_is_exchanged_for_a_token(tmp_path: Path, lab: TechcyteReceiver) -> None:
    """A key in place of a token works as well."""
    key = {"api_key_id": lab.api_key_id, "api_key_secret": "s3cr3t-key", "jwt_token": None}
    destination = a_techcyte(lab.url, **key)
    assert (
        destination.post(destination.build_payload([a_result()], tmp_path / "payload")).outcome
        == "accepted"
    )
    assert destination.has_received("ord-1") is True


def test_a_wrong_api_key_is_refused(lab: TechcyteReceiver) -> None:
    """The receipt says that it was the key, and holds none of it."""
    destination = a_techcyte(
        lab.url, jwt_token=None, api_key_id="me", api_key_secret="wr0ng-secret"
    )
    receipt = destination.post(PAYLOAD)
    assert (receipt.outcome, receipt.status) == ("refused", 401)
    assert receipt.detail.startswith("no token for the API key: answered 401")
    assert "wr0ng" not in receipt.detail


@pytest.mark.parametrize(
    "fault", [Fault(cut="after"), Fault(cut="before"), Fault(status=502), Fault(status=503)]
)
def test_trouble_with_the_token_never_leaves_the_results_in_doubt(
    lab: TechcyteReceiver, fault: Fault
) -> None:
    """The results were not sent yet, so it is always safe to try again."""
    lab.faults.add(fault)
    key = {"api_key_id": lab.api_key_id, "api_key_secret": "s3cr3t-key", "jwt_token": None}
    assert a_techcyte(lab.url, **key).post(PAYLOAD).outcome == "later"


def test_a_key_answered_without_a_token_is_tried_again(receiver: PathReceiver) -> None:
    """A 200 that is not success is no token."""
    receiver.answers["/api/v3/token"] = (200, b'["access_token"]')
    destination = a_techcyte(
        receiver.url(""), jwt_token=None, api_key_id="me", api_key_secret="s3cr3t-key"
    )
    assert destination.post(PAYLOAD).outcome == "later"


@pytest.mark.parametrize(
    ("status", "body", "arrived"),
    [
        (200, b"[]", False),
        (200, b'[{"details": {"report": {"order_id": "ord-11"}}}]', False),
        (200, b'[{"details": {"report": {"order_id": "ord-1"}}}]', True),
        (200, b'[[[{"x": [null, 1, "ord-1"]}]]]', True),
        (200, b'{"error": "no such task"}', None),
        (404, b"[]", None),
        (403, b"<html>forbidden</html>", None),
    ],
)
def test_only_a_list_of_evaluations_answers_the_question(
    receiver: PathReceiver, status: int, body: bytes, arrived: object
) -> None:
    """Anything else leaves it open: a wrong no would deliver twice."""
    receiver.answers["/api/v3/external/case_evaluations/185714"] = (status, body)
    assert a_techcyte(receiver.url("")).has_received("ord-1") is arrived


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>sign in</html>"),
        (200, b"[" * 100_000),
        (200, b""),
        (204, b""),
        (302, b"[]"),
    ],
)
def test_a_page_is_no_answer_to_the_question(
    receiver: PathReceiver, status: int, body: bytes
) -> None:
    """Something else than Techcyte answered, so Techcyte is asked again later."""
    receiver.answers["/api/v3/external/case_evaluations/185714"] = (status, body)
    with pytest.raises(TemporaryError, match="no list of evaluations") as caught:
        a_techcyte(receiver.url("")).has_received("ord-1")
    assert caught.value.code == "destination_unreachable"


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (201, b"", "accepted"),
        (201, b"null", "accepted"),
        (201, b" null\n", "accepted"),
        (200, b"<!doctype html><title>Sign in</title>", "unknown"),
        (200, b"null", "unknown"),
        (201, b"\x8f\x00random", "unknown"),
        (201, b"nullable", "unknown"),
        (202, b"", "unknown"),
        (204, b"", "unknown"),
        (226, b"", "unknown"),
    ],
)
def test_only_the_documented_answer_says_that_it_has_the_results(
    receiver: PathReceiver, status: int, body: bytes, outcome: str
) -> None:
    """201 with an empty body or null. A proxy's page, 204 or random bytes are asked after."""
    receiver.answers["/api/v3/external/results/185714"] = (status, body)
    receipt = a_techcyte(receiver.url("")).post(PAYLOAD)
    assert (receipt.outcome, receipt.status) == (outcome, status)
    if outcome == "unknown":
        assert receipt.detail.startswith(f"answered {status}")


def test_a_confirmation_that_is_cut_off_is_none(receiver: PathReceiver) -> None:
    """201 with nothing of a body that was announced is the beginning of a page."""
    receiver.headers = {"Content-Length": "1000"}
    receiver.answers["/api/v3/external/results/185714"] = (201, b"")
    assert a_techcyte(receiver.url("")).post(PAYLOAD).outcome == "unknown"


def test_silence_leaves_the_question_open() -> None:
    """No answer is not a "no": it is asked again later, and nothing is sent meanwhile."""
    with PathReceiver() as gone:
        url = gone.url("")
        gone.answers["/api/v3/external/case_evaluations/185714"] = (500, b"")
        with pytest.raises(TemporaryError, match="500"):
            a_techcyte(url).has_received("ord-1")
    with pytest.raises(TemporaryError):
        a_techcyte(url).has_received("ord-1")


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
    receipt = a_destination(
        type="techcyte", host="lab.invalid", task_id=TASK, jwt_token=TOKEN
    ).post(PAYLOAD)
    assert receipt.outcome == "later"
    assert "api.lab.invalid" in receipt.detail
