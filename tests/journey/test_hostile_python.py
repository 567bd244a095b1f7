"""One running worker and code that does everything wrong: each costs its own scan alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import command, family
from tests.support.stack import Stack, wait_for
from worker.process.process_tree import is_alive

HOSTILE = """
import os, subprocess, sys, time
import numpy as np
from slidelane.algorithms import Card, Class, Found

CARD = Card("Hostile", "objects", (Class("dot"),))
TILES = Card("Hostile tiles", "tiles", (Class("a"), Class("b")), mpp=0.5, input_px=256)

def hostile(path, context):
    kind = context.labels.get("kind", "good")
    if kind == "raises":
        raise KeyError("no key")
    if kind == "kills itself":
        os.kill(os.getpid(), 9)
    if kind == "prints":
        print(os.environ)
        line = "x" * (2**20 - 1)
        for _ in range(128):
            print(line)
    if kind == "forks":
        for _ in range(20):
            if not os.fork():
                os.setsid()
                time.sleep(600)
        subprocess.Popen(["sleep", "600"])
    x, y, width, height = context.roi.box
    return [Found(x + 10, y + 10, "dot")]

def limited(path, context):
    while True:
        time.sleep(1)

def eater(path, context):
    eaten = []
    while True:
        eaten.append(np.ones(2**24))
        time.sleep(0.01)

class Nan:
    card = TILES
    def classify(self, batch):
        return np.full((len(batch), 2), np.nan)

class Torch:
    card = TILES
    def prepare(self, context):
        import torch
        assert torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
    def classify(self, batch):
        return np.full((len(batch), 2), 0.5)
"""
ENTRIES = ("hostile", "limited", "eater", "Nan", "Torch")
FAILING = (
    ("hostile", "raises", "algorithm_raised"),
    ("hostile", "kills itself", "algorithm_raised"),
    ("eater", "", "algorithm_raised"),
    ("Nan", "", "algorithm_answer_invalid"),
    ("limited", "", "time_limit"),
)
"""Algorithm, what the function is told to do, and the code of its scan's error."""
HARMLESS = (("hostile", "prints"), ("hostile", "forks"), ("Torch", ""), ("Torch", ""))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("hostile")
    file = folder / "hostile.py"
    file.write_text(HOSTILE)
    algorithms: dict[str, Any] = {}
    for name in ENTRIES:
        algorithms[name.lower()] = {"kind": "python", "entry": f"{file}:{name}"}
    algorithms["eater"]["memory_bytes"] = 2**29
    algorithms["limited"]["time_limit_s"] = 5
    algorithms["absent"] = {"kind": "python", "entry": f"{file}:absent"}
    (folder / "data").mkdir()
    stack = Stack(folder / "data", [slide.parent])
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        wait_for(lambda: told(stack).keys() >= algorithms.keys(), 170, "all algorithms")
        yield stack


def told(stack: Stack) -> dict[str, str]:
    """The reason of each algorithm that was looked at, empty where it can be ordered."""
    body = stack.call("GET", "/v1/algorithms")[1] or {}
    return {one["name"]: one.get("reason", "") for one in body.get("algorithms", [])}


def ordered(stack: Stack, slide: Path, name: str, kind: str = "good") -> dict[str, Any]:
    roi = {"x": 2000, "y": 1500, "width": 512, "height": 512}
    scan = {"id": "1", "source": {"type": "path", "path": str(slide)}, "roi": roi}
    order = stack.order(
        algorithm=name.lower(),
        scans=[scan],
        destination={"type": "none"},
        labels={"kind": kind},
    )
    ended: dict[str, Any] = stack.wait_until(order, "delivered", "failed", within_s=150)
    return ended


@pytest.mark.timeout(900)
def test_each_costs_its_own_scan_alone(running: Stack, slide: Path) -> None:
    """After every hostile scan the same worker classifies a scan of a good algorithm.

    128 megabytes of print leave ten, forks leave no process, and settings that the code
    changes are as before in the next scan of the same algorithm.
    """
    assert told(running)["absent"].startswith("worker.algorithms.absent: entry: ")
    for name, kind, code in FAILING:
        failed = ordered(running, slide, name, kind)
        error = failed["scans"][0]["error"]
        assert (failed["state"], error["code"], error["blame"]) == ("failed", code, "algorithm")
        assert ordered(running, slide, "hostile")["state"] == "delivered"
    for name, kind in HARMLESS:
        ended = ordered(running, slide, name, kind)
        assert (name, kind, ended["state"]) == (name, kind, "delivered")
        assert "SLIDELANE_" not in output_of(running, ended)


def test_a_killed_worker_leaves_no_process_of_the_code(running: Stack, slide: Path) -> None:
    """The process that runs the code, and what watches over it, end with their worker."""
    assert ordered(running, slide, "hostile")["state"] == "delivered"
    pids = family(running.processes["worker"].pid)
    assert any("worker.algorithms.python.host" in command(pid) for pid in pids)
    running.kill("worker")
    wait_for(lambda: not any(is_alive(pid) for pid in pids), 60, "the end of all processes")


def output_of(stack: Stack, order: dict[str, Any]) -> str:
    """What the scan printed; empty where it printed nothing."""
    status, body = stack.call("GET", f"/v1/orders/{order['id']}/scans/1/output.log")
    if status != 200:
        return ""
    assert len(body) <= 10 * 2**20 + 100
    return str(body.decode())
