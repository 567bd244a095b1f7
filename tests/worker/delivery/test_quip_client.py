"""A DynamicServices-style loader as a destination."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.annotation import AnnotationReceiver
from tests.support.destinations import a_loader, post_to_loader
from tests.support.receivers import PathReceiver
from tests.support.results import a_result, nuclei


@pytest.fixture
def receiver() -> Iterator[PathReceiver]:
    with PathReceiver() as server:
        yield server


def test_a_zip_is_queued_by_the_loader(tmp_path: Path) -> None:
    """A strict loader opens the form and the zip and gives its job's id."""
    with AnnotationReceiver() as loader:
        destination = a_loader(f"{loader.url}/submitZipOrder")
        payload = destination.build_payload(
            [a_result(), a_result(nuclei(2), scan_id="2")], tmp_path / "payload"
        )
        receipt = destination.post(payload)
        assert (receipt.outcome, receipt.status, receipt.remote_id) == ("accepted", 200, "1")
        assert loader.cases == ["CMU1"]
        assert loader.ledger[0].note["features"] == 11
        assert loader.ledger[0].bytes == payload.path.stat().st_size
        assert destination.has_received("ord-1") is None


def test_the_same_results_are_the_same_payload(tmp_path: Path) -> None:
    """Also the form around the zip is the same: a digest says whether it was sent before."""
    destination = a_loader("https://loader.example/")
    first, second = (
        destination.build_payload([a_result()], tmp_path / name) for name in ("first", "second")
    )
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.content_type == second.content_type


@pytest.mark.parametrize(
    ("body", "remote_id"),
    [
        (b'{"Status": "Queued", "Job": {"id": 7}, "id": 14}', "14"),
        (b'{"Job": {"id": "7"}}', "7"),
    ],
)
def test_a_job_with_an_id_is_an_acceptance(
    receiver: PathReceiver, body: bytes, remote_id: str
) -> None:
    """The id may stand beside the job or in it."""
    receiver.answers["/zip"] = (200, body)
    receipt = post_to_loader(receiver.url("/zip"))
    assert (receipt.outcome, receipt.remote_id) == ("accepted", remote_id)


@pytest.mark.parametrize("body", [b'{"id": 3}', b'{"Job": {}}', b'{"Job": 5, "id": 5}'])
def test_a_200_without_a_job_is_no_acceptance(receiver: PathReceiver, body: bytes) -> None:
    """The loader says 200 to many things; only a job in its queue counts."""
    receiver.answers["/zip"] = (200, body)
    receipt = post_to_loader(receiver.url("/zip"))
    assert receipt.outcome == "refused"
    assert receipt.detail.startswith("the loader did not queue it")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"null"),
        (200, b"[]"),
        (200, b"<html>ok</html>"),
        (201, b'{"Job": {"id": 7}}'),
        (204, b""),
    ],
)
def test_an_answer_that_is_not_the_loaders_is_unknown(
    receiver: PathReceiver, status: int, body: bytes
) -> None:
    """A proxy or a login page answered: whether the loader got the form is not known."""
    receiver.answers["/zip"] = (status, body)
    receipt = post_to_loader(receiver.url("/zip"))
    assert (receipt.outcome, receipt.status) == ("unknown", status)
    assert f"answered {status}" in receipt.detail


def test_a_failed_queue_is_tried_again(receiver: PathReceiver) -> None:
    """The loader's 500 says that it did not take the zip, and why."""
    receiver.answers["/zip"] = (500, b'{"Status": "Failed: no Redis"}')
    receipt = post_to_loader(receiver.url("/zip"))
    assert receipt.outcome == "later"
    assert "Failed: no Redis" in receipt.detail
