"""The stand-in receivers fail exactly as they are told to, and can be ruled from another
process."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from demo.bucket import FileBucket
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.paths import ROOT

RESULTS = {"scanResults": [{"scanId": "7", "results": {"summary": "12 nuclei"}}]}


@pytest.fixture
def techcyte() -> Iterator[TechcyteReceiver]:
    with TechcyteReceiver({"185714": {"7"}}) as receiver:
        yield receiver


def post(receiver: TechcyteReceiver) -> requests.Response:
    bearer = {"Authorization": f"Bearer {receiver.jwt_token}"}
    return requests.post(
        f"{receiver.url}/api/v3/external/results/185714", json=RESULTS, headers=bearer, timeout=10
    )


def test_a_lost_answer_is_kept_all_the_same(techcyte: TechcyteReceiver) -> None:
    """`cut="after"` breaks the connection once the results are kept: the sender cannot know, the
    receiver can."""
    techcyte.faults.add(Fault(cut="after"))
    with pytest.raises(requests.ConnectionError):
        post(techcyte)
    assert len(techcyte.evaluations) == 1


def test_a_connection_cut_before_reading_keeps_nothing(techcyte: TechcyteReceiver) -> None:
    """`cut="before"` breaks the connection before the body is read."""
    techcyte.faults.add(Fault(cut="before"))
    with pytest.raises(requests.ConnectionError):
        post(techcyte)
    assert techcyte.ledger == []


def test_the_next_requests_fail_as_often_as_was_asked(techcyte: TechcyteReceiver) -> None:
    """Two 503s and a 429 with Retry-After, then all is well, and only the last was kept."""
    techcyte.faults.add(Fault(status=503, times=2))
    techcyte.faults.add(Fault(status=429, retry_after="7"))
    answers = [post(techcyte) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 429, 201]
    assert answers[2].headers["Retry-After"] == "7"
    assert len(techcyte.ledger) == 1


def test_a_slow_receiver_does_not_hold_up_its_own_end() -> None:
    """A request that would be answered in an hour is let go when the receiver closes."""
    ended = threading.Event()

    def send(receiver: TechcyteReceiver) -> None:
        with pytest.raises(requests.ConnectionError):
            post(receiver)
        ended.set()

    with TechcyteReceiver({"185714": {"7"}}) as receiver:
        receiver.faults.add(Fault(slow_s=3600))
        sender = threading.Thread(target=send, args=(receiver,))
        sender.start()
        while len(receiver.faults):
            time.sleep(0.01)
        began = time.monotonic()
    sender.join()
    assert ended.is_set()
    assert time.monotonic() - began < 5


def test_a_receiver_in_its_own_process_is_ruled_over_http() -> None:
    """`PUT /_faults` and `GET /_ledger` do from outside what the Python attributes do from
    inside."""
    command = [sys.executable, "-m", "demo.techcyte"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        shown = json.loads(process.stdout.readline())
        bearer = {"Authorization": f"Bearer {shown['jwt_token']}"}
        url = f"{shown['url']}/api/v3/external/results/5"
        assert (
            requests.put(f"{shown['url']}/_faults", json=[{"status": 500}], timeout=10).status_code
            == 204
        )
        answers = [
            requests.post(url, json=RESULTS, headers=bearer, timeout=10).status_code
            for _ in range(2)
        ]
        ledger = requests.get(f"{shown['url']}/_ledger", timeout=10).json()
        process.terminate()
    assert answers == [500, 201]
    assert ledger[0]["note"] == {"task": "5", "scans": ["7"], "evaluations": 1, "features": 0}
    assert process.returncode == 0


def test_a_fault_nobody_knows_is_refused(techcyte: TechcyteReceiver) -> None:
    """A misspelt switch is a 400 that names the known ones, not a test that silently tests
    nothing."""
    answer = requests.put(f"{techcyte.url}/_faults", json=[{"statsu": 500}], timeout=10)
    assert answer.status_code == 400
    assert "retry_after" in answer.json()["error"]


def test_the_bucket_serves_ranges_behind_a_signature(tmp_path: Path) -> None:
    """GET with the signature answers the file or a part of it; HEAD and a wrong signature are
    refused."""
    (tmp_path / "slide.svs").write_bytes(b"0123456789")
    with FileBucket(tmp_path / "slide.svs") as bucket:
        part = requests.get(bucket.signed_url, headers={"Range": "bytes=3-5"}, timeout=10)
        rest = requests.get(bucket.signed_url, headers={"Range": "bytes=8-"}, timeout=10)
        beyond = requests.get(bucket.signed_url, headers={"Range": "bytes=10-"}, timeout=10)
        assert (part.status_code, part.content, part.headers["Content-Range"]) == (
            206,
            b"345",
            "bytes 3-5/10",
        )
        assert (rest.content, beyond.status_code) == (b"89", 416)
        assert requests.get(bucket.signed_url, timeout=10).content == b"0123456789"
        assert requests.head(bucket.signed_url, timeout=10).status_code == 403
        assert requests.get(bucket.signed_url + "x", timeout=10).status_code == 403
