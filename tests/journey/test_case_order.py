"""An order of a case, by a real worker that is killed while it judges, up to Techcyte's case."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from demo.techcyte import TechcyteReceiver
from tests.support.cases import CASE, a_case_head, scans_of, slides_of
from tests.support.stack import ROLES, Stack, wait_for

ANSWER = {
    "class": "blue",
    "probability": 0.625,
    "probabilities": {"red": 0.375, "blue": 0.625},
    "scans": 3,
    "tiles": 8,
}
ALONE = {"a": ("red", 1.0), "b": ("blue", 1.0), "c": ("red", 0.5)}
FILES = ("attention.csv", "embeddings.h5", "overlay.png")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A service with a worker that waits at the gate before it judges a case."""
    head = a_case_head(tmp_path / "models" / "head")
    (tmp_path / "data").mkdir()
    stack = Stack(tmp_path / "data", [tmp_path / "slides"])
    stack.modules = ROLES | {"worker": ["tests.support.gated_case_worker", "gpu"]}
    algorithms = {"cases": {"kind": "weights", "folder": str(head)}}
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        stack.wait_ready()
        yield stack


def delivered(stack: Stack, order_id: str) -> Any:
    ended = stack.wait_until(order_id, "delivered", "failed", "undelivered", within_s=240)
    assert ended["state"] == "delivered", ended
    return ended


def files_of(stack: Stack, order: Any) -> list[bytes]:
    """The files of every scan that do not name their order."""
    return [stack.call("GET", scan["links"][name])[1] for scan in order["scans"] for name in FILES]


def test_a_case_is_judged_once_whatever_becomes_of_its_worker(stack: Stack, tmp_path: Path) -> None:
    """The answer is that of all slides together, and that of none of them alone."""
    slides = slides_of(tmp_path / "slides")
    scans = scans_of(slides)
    with TechcyteReceiver({"7": set(slides)}) as techcyte:
        destination = {
            "type": "techcyte",
            "base_url": techcyte.url,
            "task_id": "7",
            "jwt_token": techcyte.jwt_token,
            "case_results": True,
        }
        stack.gate.close()
        order_id = stack.order(algorithm="cases", scans=scans, destination=destination)
        wait_for(stack.gate.held, 240, "a worker that is to judge the case")
        running = stack.get(order_id)
        assert sorted(scan["state"] for scan in running["scans"]) == [
            "classified",
            "classified",
            "classifying",
        ]
        assert not any("case" in scan["summary"] for scan in running["scans"])
        assert all("embeddings.h5" in scan["links"] for scan in running["scans"])
        stack.kill("worker")
        stack.gate.open()
        stack.start("worker")
        order = delivered(stack, order_id)
        (evaluation, *others) = techcyte.evaluations
        assert len(techcyte.ledger) == 1
    for scan in order["scans"]:
        assert scan["summary"]["case"] == ANSWER
    report = evaluation["details"]["caseReport"]
    assert {name: report[name] for name in ANSWER} == ANSWER
    assert report["order_id"] == order_id
    assert all(one["details"]["caseReport"] == report for one in others)
    log = stack.call("GET", f"/v1/orders/{order_id}/log")[1].decode()
    assert log.count("judged the case by 8 tiles of 3 scans") == 1
    assert "lost by" in log
    undisturbed = delivered(stack, stack.order(algorithm="cases", scans=scans))
    assert files_of(stack, order) == files_of(stack, undisturbed)
    check_vectors(stack, order)
    check_alone(stack, scans)


def check_vectors(stack: Stack, order: Any) -> None:
    """Each slide keeps its own vectors."""
    for scan, tiles in zip(order["scans"], CASE.values(), strict=True):
        content = stack.call("GET", scan["links"]["embeddings.h5"])[1]
        with h5py.File(io.BytesIO(content)) as file:
            assert len(file["features"]) == len(tiles)


def check_alone(stack: Stack, scans: list[dict[str, Any]]) -> None:
    """Each slide is another case by itself."""
    ids = {one["id"]: stack.order(algorithm="cases", scans=[one]) for one in scans}
    for name, order_id in ids.items():
        (scan,) = delivered(stack, order_id)["scans"]
        case = scan["summary"]["case"]
        assert (case["class"], case["probability"]) == ALONE[name]
        assert case["scans"] == 1
