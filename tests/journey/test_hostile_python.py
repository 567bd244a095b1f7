"""One running worker and code that does everything wrong: each costs its own scan alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack, wait_for

HOSTILE = """
import os, subprocess, sys, time
import numpy as np
from slidelane.algorithms import Card, Class, Found

CARD = Card("Hostile", "objects", (Class("dot"),))
TILES = Card("Hostile tiles", "tiles", (Class("a"), Class("b")), mpp=0.5, input_px=256)

def good(path, context):
    x, y, width, height = context.roi.box
    return [Found(x + 10, y + 10, "dot")]

def raises(path, context):
    raise KeyError("no key")

def never_answers(path, context):
    while True:
        time.sleep(1)

def eats_memory(path, context):
    eaten = []
    while True:
        eaten.append(np.ones(2**24))
        time.sleep(0.01)

def prints(path, context):
    line = "x" * (2**20 - 1)
    for _ in range(1024):
        print(line)
    return []

def forks(path, context):
    for _ in range(20):
        if not os.fork():
            os.setsid()
            time.sleep(600)
    subprocess.Popen(["sleep", "600"])
    return []

def kills_itself(path, context):
    os.kill(os.getpid(), 9)

def secret(path, context):
    print(os.environ)
    return []

class Nan:
    card = TILES
    def classify(self, batch):
        return np.full((len(batch), 2), np.nan)

class Shape:
    card = TILES
    def classify(self, batch):
        return np.zeros((len(batch), 3))

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
FUNCTIONS = {
    "raises": "algorithm_raised",
    "eats_memory": "algorithm_raised",
    "kills_itself": "algorithm_raised",
    "Nan": "algorithm_answer_invalid",
    "Shape": "algorithm_answer_invalid",
    "never_answers": "time_limit",
}
"""Of each function that fails: the code of its scan's error."""
HARMLESS = ("good", "prints", "forks", "secret", "Torch")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, slide: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("hostile")
    file = folder / "hostile.py"
    file.write_text(HOSTILE)
    algorithms: dict[str, Any] = {}
    for name in (*FUNCTIONS, *HARMLESS):
        algorithms[name.lower()] = {"kind": "python", "entry": f"{file}:{name}"}
    algorithms["eats_memory"]["memory_bytes"] = 2**29
    algorithms["never_answers"]["time_limit_s"] = 15
    algorithms["absent"] = {"kind": "python", "entry": f"{file}:absent"}
    (folder / "data").mkdir()
    stack = Stack(folder / "data", [slide.parent])
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps(algorithms)
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        wait_for(lambda: available(stack) == len(algorithms) - 1, 170, "all algorithms")
        yield stack


def available(stack: Stack) -> int:
    told = stack.call("GET", "/v1/algorithms")[1] or {}
    return sum(one["available"] for one in told.get("algorithms", []))


def ordered(stack: Stack, slide: Path, name: str) -> dict[str, Any]:
    roi = {"x": 2000, "y": 1500, "width": 512, "height": 512}
    scan = {"id": "1", "source": {"type": "path", "path": str(slide)}, "roi": roi}
    order = stack.order(algorithm=name, scans=[scan], destination={"type": "none"})
    ended: dict[str, Any] = stack.wait_until(order, "delivered", "failed", within_s=150)
    return ended


@pytest.mark.timeout(900)
def test_each_costs_its_own_scan_alone(running: Stack, slide: Path) -> None:
    """After every hostile scan the same worker classifies a scan of a good algorithm.

    A gigabyte of print leaves ten megabytes, forks leave no process, and settings that the code
    changes are as before in the next scan of the same algorithm.
    """
    told = {one["name"]: one for one in running.call("GET", "/v1/algorithms")[1]["algorithms"]}
    reason = told["absent"]["reason"]
    assert reason.startswith("worker.algorithms.absent: entry: ")
    for name, code in FUNCTIONS.items():
        failed = ordered(running, slide, name.lower())
        error = failed["scans"][0]["error"]
        assert (failed["state"], error["code"], error["blame"]) == ("failed", code, "algorithm")
        assert ordered(running, slide, "good")["state"] == "delivered"
    for name in ("prints", "forks", "secret", "Torch", "Torch"):
        ended = ordered(running, slide, name.lower())
        assert (name, ended["state"]) == (name, "delivered")
        assert "SLIDELANE_" not in output_of(running, ended)
    assert ordered(running, slide, "good")["state"] == "delivered"


def output_of(stack: Stack, order: dict[str, Any]) -> str:
    """What the scan printed; empty where it printed nothing."""
    status, body = stack.call("GET", f"/v1/orders/{order['id']}/scans/1/output.log")
    if status != 200:
        return ""
    assert len(body) <= 10 * 2**20 + 100
    return body.decode()
