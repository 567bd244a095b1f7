"""Orders for programs through a running service: caught, shown, and delivered once to Techcyte."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.techcyte import TechcyteReceiver
from tests.support.plain_isolation import scripts
from tests.support.processes import family
from tests.support.stack import Stack, wait_for
from worker.algorithms.python.host.guard import is_alive

SLOW = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["setsid", "sleep", "600"])
print("slidelane:progress 1/4", flush=True)
print("I am slow", flush=True)
time.sleep(600)
"""
FAILING = """
import sys
print("cannot find my weights")
sys.exit(4)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    """A service with programs as algorithms."""
    folder = tmp_path_factory.mktemp("programs")
    template = [sys.executable, str(scripts() / "template.py")]
    algorithms: dict[str, Any] = {"mitosis": {"kind": "command", "command": template}}
    for name, code in (("slow", SLOW), ("failing", FAILING)):
        file = folder / f"{name}.py"
        file.write_text(code)
        algorithms[name] = {"kind": "command", "command": [sys.executable, str(file)]}
    algorithms["absent"] = {"kind": "command", "command": ["/opt/none/main.py"]}
    (folder / "data").mkdir()
    stack = Stack(folder / "data", [slide.parent])
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        stack.wait_ready()
        yield stack


def scans_of(slide: Path, *ids: str) -> list[dict[str, Any]]:
    """Scans of an order, all of the same slide."""
    return [{"id": one, "source": {"type": "path", "path": str(slide)}} for one in ids]


def text(stack: Stack, order: dict[str, Any], scan: str, name: str) -> str:
    """A file of a scan."""
    status, content = stack.call("GET", f"/v1/orders/{order['id']}/scans/{scan}/{name}")
    assert status == 200, content
    if isinstance(content, bytes):
        return content.decode()
    return json.dumps(content)


def test_what_programs_post_is_delivered_once(
    stack: Stack, slide: Path, techcyte: TechcyteReceiver
) -> None:
    """Two scans are two runs and one post, with the template's own words and our order's id."""
    destination = {
        "type": "techcyte",
        "base_url": techcyte.url,
        "task_id": "dGFzazoxODU3MTQ=",
        "jwt_token": techcyte.jwt_token,
    }
    order_id = stack.order(
        algorithm="mitosis", scans=scans_of(slide, "8946136", "8946137"), destination=destination
    )
    order = stack.wait_until(order_id, "delivered", "failed", "undelivered", within_s=170)
    assert order["state"] == "delivered", order
    assert len(techcyte.ledger) == 1
    _, payload = stack.call("GET", f"/v1/orders/{order_id}/payload")
    assert [scan["scanId"] for scan in payload["scanResults"]] == ["8946136", "8946137"]
    for scan in payload["scanResults"]:
        assert scan["workflow"]["provider"] == "Acme AI"
        assert scan["results"] == {"order_id": order_id}
    assert payload["caseResults"] == {}
    assert "Success: 201" in text(stack, order, "8946136", "output.log")
    assert techcyte.jwt_token not in text(stack, order, "8946136", "output.log")
    posted = json.loads(text(stack, order, "8946136", "posted.json"))
    assert posted["scanResults"][0]["workflow"] == payload["scanResults"][0]["workflow"]
    features = json.loads(text(stack, order, "8946137", "features.geojson"))["features"]
    assert len(features) == 4
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    assert "scan 8946136: Image processing complete. Posting to techcyte..." in log


def test_a_program_that_fails_leaves_its_words(stack: Stack, slide: Path) -> None:
    """The error has its last line, and `output.log` is linked from the failed scan."""
    order_id = stack.order(algorithm="failing", scans=scans_of(slide, "1"))
    order = stack.wait_until(order_id, "failed", "delivered", within_s=120)
    (scan,) = order["scans"]
    assert scan["error"]["code"] == "algorithm_raised"
    assert scan["error"]["blame"] == "algorithm"
    assert "cannot find my weights" in scan["error"]["detail"]
    assert list(scan["links"]) == ["output.log"]
    assert text(stack, order, "1", "output.log") == "cannot find my weights\n"


def test_a_cancelled_program_ends_with_all_that_it_started(stack: Stack, slide: Path) -> None:
    """Its progress is shown while it runs; then nothing of it is left, though it ignores SIGTERM."""
    order_id = stack.order(algorithm="slow", scans=scans_of(slide, "1"))

    def progress() -> Any:
        return stack.get(order_id)["scans"][0]["progress"]

    wait_for(lambda: progress()["total"] == 4, 120, "the progress of the program")
    assert progress()["stage"] == "running"
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    assert "scan 1: I am slow" in log
    started = family(stack.processes["worker"].pid)
    stack.call("POST", f"/v1/orders/{order_id}/cancel")
    stack.wait_until(order_id, "cancelled")
    worker = set(family(stack.processes["worker"].pid))
    wait_for(lambda: not any(is_alive(pid) for pid in set(started) - worker), 30, "its end")


def test_a_killed_worker_takes_its_program_with_it(stack: Stack, slide: Path) -> None:
    """Nobody is left to end it, and yet nothing of it goes on, nor stays on the disk."""
    order_id = stack.order(algorithm="slow", scans=scans_of(slide, "1"))

    def progress() -> Any:
        return stack.get(order_id)["scans"][0]["progress"]

    wait_for(lambda: progress()["total"] == 4, 120, "the progress of the program")
    scratch = stack.data / "scratch"
    (left,) = [path for path in scratch.iterdir() if (path / "run" / "run").exists()]
    started = family(stack.processes["worker"].pid)
    assert len(started) > 4
    stack.kill("worker")
    wait_for(lambda: not any(is_alive(pid) for pid in started), 30, "the end of everything")
    wait_for(lambda: not (left / "run" / "run").exists(), 30, "the end of its files")
    stack.call("POST", f"/v1/orders/{order_id}/cancel")
    stack.wait_until(order_id, "cancelled")


def test_a_program_that_is_not_there_cannot_be_ordered(stack: Stack, slide: Path) -> None:
    """The reason names the setting."""
    body = stack.call("GET", "/v1/algorithms")[1]["algorithms"]
    (absent,) = [one for one in body if one["name"] == "absent"]
    assert absent["available"] is False
    assert "command: there is no program '/opt/none/main.py'" in absent["reason"]
    request = {"algorithm": "absent", "scans": scans_of(slide, "1")}
    status, problem = stack.call("POST", "/v1/orders", request)
    assert (status, problem["code"]) == (409, "algorithm_unavailable")
