"""What Flower shows of each attempt: its own id, its true end, one sentence, no secret."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.bucket import FileBucket
from demo.faults import Fault
from demo.techcyte import TechcyteReceiver
from tests.support.flower import LOGIN, FlowerProcess, with_password
from tests.support.stack import GATED, ROLES, Stack, wait_for
from tests.support.task_messages import TaskQueues, item

ALGORITHMS = {
    "grid": {"kind": "grid"},
    "ki67": {"kind": "ki67"},
    "hurried": {"kind": "ki67", "time_limit_s": 3},
}


class WatchedStack(Stack):
    """A service with a gated worker."""

    def __init__(self, data: Path, roots: list[Path]) -> None:
        super().__init__(data, roots)
        self.modules = ROLES | GATED
        self.env |= {
            "SLIDELANE_WORKER__ALGORITHMS": json.dumps(ALGORITHMS),
            "SLIDELANE_WORKER__COURIER_THREADS": "2",
            "SLIDELANE_WORKER__THREADS": "1",
        }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    with WatchedStack(tmp_path_factory.mktemp("watched"), [slide.parent]) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="module")
def flower(watched: Stack) -> Iterator[FlowerProcess]:
    with FlowerProcess(with_password(watched.env)) as process:
        wait_for(
            lambda: process.get("/workers?json=1", login=LOGIN).json()["data"],
            what="the workers",
        )
        yield process


@pytest.fixture(autouse=True)
def open_gate(watched: Stack) -> Iterator[None]:
    """Leave the gate open, so that the next test, or the next try of this one, has a worker."""
    yield
    watched.gate.open()


def at_path(path: Path) -> list[dict[str, Any]]:
    return [{"id": "1", "source": {"type": "path", "path": str(path)}}]


def to_techcyte(receiver: TechcyteReceiver) -> dict[str, str]:
    return {
        "type": "techcyte",
        "base_url": receiver.url,
        "task_id": "1",
        "jwt_token": receiver.jwt_token,
    }


def test_good_work_says_one_short_sentence(
    watched: Stack, flower: FlowerProcess, bucket: FileBucket, techcyte: TechcyteReceiver
) -> None:
    """Each stage is a task whose id is made of order, scan, stage and attempt."""
    scans = [{"id": "1", "source": {"type": "url", "url": bucket.signed_url}}]
    order_id = watched.order(algorithm="grid", scans=scans, destination=to_techcyte(techcyte))
    watched.wait_until(order_id, "delivered")
    for task_id, words in {
        f"{order_id}.0:fetch:1": "fetched ",
        f"{order_id}.0:classify:1": "classified ",
        f"{order_id}:deliver:1": "delivered: delivery attempt 1: accepted (201)",
    }.items():
        task = flower.task(task_id, "SUCCESS")
        assert words in task["result"]
        assert len(task["result"]) <= 200
        assert flower.get(f"/task/{task_id}", login=LOGIN).ok
    assert [one for one in flower.tasks() if order_id in one] == [
        one for one in flower.tasks() if re.fullmatch(rf"{order_id}(\.0)?:[a-z]+:1", one)
    ]


def test_a_failed_scan_is_a_failure_with_its_reason(
    watched: Stack, flower: FlowerProcess, slide: Path, bucket: FileBucket
) -> None:
    """`CODE: detail`, in both pools; no second run, no traceback in our log, no secret."""
    page = slide.with_name("page.svs")
    page.write_text("<html>not a slide</html>")
    gone = bucket.signed_url.replace("signature=", "signature=x")
    failing = {
        "classify": at_path(page),
        "fetch": [{"id": "1", "source": {"type": "url", "url": gone}}],
    }
    for stage, scans in failing.items():
        order_id = watched.order(algorithm="grid", scans=scans)
        error = watched.wait_until(order_id, "failed")["scans"][0]["error"]
        task_id = f"{order_id}.0:{stage}:1"
        task = flower.task(task_id, "FAILURE")
        assert task["exception"] == f"{error['code']}: {error['detail']}"
        assert "During handling" not in task["traceback"]
        page_text = flower.get(f"/task/{task_id}", login=LOGIN).text
        assert error["code"] in page_text
        assert f"{order_id}.0:{stage}:2" not in flower.tasks()
        assert "signature=x" not in json.dumps(task) + page_text
    for role in ("courier", "worker"):
        said = (watched.data / f"{role}.log").read_text()
        assert "Traceback" not in said
        assert "raised expected" not in said


def test_work_that_is_given_back_is_tried_again_under_another_id(
    watched: Stack, flower: FlowerProcess, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """503, then 201: RETRY with the reason and the next try, then SUCCESS."""
    techcyte.faults.add(Fault(status=503, times=1))
    order_id = watched.order(
        algorithm="grid", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    watched.wait_until(order_id, "delivered")
    first = flower.task(f"{order_id}:deliver:1", "RETRY")
    assert re.match(r"given back: delivery attempt 1: later \(503\).* in \d+ s", first["exception"])
    assert flower.task(f"{order_id}:deliver:2", "SUCCESS")["result"].startswith("'delivered")


def test_a_refused_delivery_is_a_failure(
    watched: Stack, flower: FlowerProcess, slide: Path
) -> None:
    """With the code of the order and the words of its destination."""
    with TechcyteReceiver({"2": {"1"}}) as strict:
        order_id = watched.order(
            algorithm="grid", scans=at_path(slide), destination=to_techcyte(strict)
        )
        watched.wait_until(order_id, "undelivered")
        task = flower.task(f"{order_id}:deliver:1", "FAILURE")
        assert task["exception"].startswith("destination_refused: ")
        assert strict.jwt_token not in json.dumps(task)


def test_work_over_its_time_limit_is_a_failure_with_its_code(
    watched: Stack, flower: FlowerProcess, slide: Path
) -> None:
    """Its process ends by itself, which Celery alone would show as a lost worker."""
    watched.gate.close()
    order_id = watched.order(algorithm="hurried", scans=at_path(slide))
    watched.wait_until(order_id, "failed")
    task = flower.task(f"{order_id}.0:classify:1", "FAILURE")
    assert task["exception"].startswith("time_limit: not done after 3 s")
    watched.gate.open()


def test_a_killed_process_gives_its_scan_to_another_attempt(
    watched: Stack, flower: FlowerProcess, slide: Path
) -> None:
    """It is no failure of the scan: RETRY, then SUCCESS under the next id."""
    watched.gate.close(after=1)
    order_id = watched.order(algorithm="ki67", scans=at_path(slide))
    (child,) = wait_for(watched.gate.held, what="a tile at the gate")
    os.kill(child, signal.SIGKILL)
    task = flower.task(f"{order_id}.0:classify:1", "RETRY")
    assert "signal 9 (SIGKILL)" in task["exception"]
    watched.gate.open()
    watched.wait_until(order_id, "delivered")
    flower.task(f"{order_id}.0:classify:2", "SUCCESS")


def test_a_doubled_message_changes_nothing_of_what_is_shown(
    watched: Stack, flower: FlowerProcess, slide: Path
) -> None:
    """A second message for an attempt that failed leaves its row; one with an id of its own says
    that there was nothing to do."""
    page = slide.with_name("page.svs")
    page.write_text("<html>not a slide</html>")
    order_id = watched.order(algorithm="grid", scans=at_path(page))
    watched.wait_until(order_id, "failed")
    work = f"{order_id}.0"
    before = flower.task(f"{work}:classify:1", "FAILURE")
    queues = TaskQueues(watched.data)
    for task_id in (f"{work}:classify:1", "by-hand"):
        queues.put("gpu", item(task="slidelane.classify", task_id=task_id, args=[work]))
    by_hand = flower.task("by-hand", "SUCCESS")
    assert by_hand["result"] == "'nothing to do: the order is failed'"
    after = flower.task(f"{work}:classify:1", "FAILURE")
    assert after["exception"] == before["exception"]
    assert "nothing to do" in (watched.data / "worker.log").read_text()


def test_a_fetch_in_the_place_of_another_is_shown_as_its_own(
    watched: Stack, flower: FlowerProcess, bucket: FileBucket
) -> None:
    """The URL that expires first is fetched first, whichever message came first."""
    watched.kill("courier", signal.SIGTERM)
    placed = []
    for signature in ("late", "soon-and-wrong"):
        # both have 15 minutes and more, so that they wait on the same queue
        seconds = 90000 if signature == "late" else 3000
        signed_at = "20991129T000000Z"
        url = f"{bucket.signed_url}&X-Amz-Date={signed_at}&X-Amz-Expires={seconds}"
        scans = [{"id": "1", "source": {"type": "url", "url": url}}]
        placed.append(watched.order(algorithm="grid", scans=scans))
    late, soon = placed
    watched.start("courier")
    for order_id in placed:
        watched.wait_until(order_id, "failed", "delivered")
        flower.task(f"{order_id}.0:fetch:1", "FAILURE", "SUCCESS")
    assert taken_at(watched, soon) <= taken_at(watched, late)
    for order_id in placed:
        error = watched.get(order_id)["scans"][0]["error"]
        task = flower.task(f"{order_id}.0:fetch:1", "FAILURE")
        assert task["exception"].startswith(error["code"])


def taken_at(stack: Stack, order_id: str) -> str:
    """Return when the fetch was claimed, as the order's log says it."""
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    found = re.search(r"(\S+) scan 1: fetch taken by", log)
    assert found, log
    return found[1]


def test_the_list_shows_what_is_worth_seeing(watched: Stack, flower: FlowerProcess) -> None:
    """Id, state, result and exception are columns."""
    page = flower.get("/tasks", login=LOGIN).text
    assert re.findall(r"<th[^>]*>(.*?)</th>", page) == [
        "Name", "UUID", "State", "Result", "Exception", "Received", "Started", "Runtime", "Worker",
    ]  # fmt: skip


def test_a_late_message_leaves_an_attempt_that_was_given_back(
    watched: Stack, flower: FlowerProcess, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """RETRY, with the reason that was shown first, though Celery starts the task once more."""
    techcyte.faults.add(Fault(status=503, times=1))
    order_id = watched.order(
        algorithm="grid", scans=at_path(slide), destination=to_techcyte(techcyte)
    )
    watched.wait_until(order_id, "delivered")
    task_id = f"{order_id}:deliver:1"
    before = flower.task(task_id, "RETRY")
    message = item(task="slidelane.deliver", task_id=task_id, args=[order_id])
    TaskQueues(watched.data).put("deliver", message)
    wait_for(lambda: flower.tasks()[task_id]["retried"] > before["retried"], what="the message")
    after = flower.task(task_id, "RETRY")
    assert after["exception"] == before["exception"]
