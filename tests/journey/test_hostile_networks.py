"""One running worker and a network that does everything wrong: each costs its own scan alone.

What a network does wrong is chosen by the colour of the slide, so that it loads like a good one and
is loaded once. A network can neither fork nor start a program: TorchScript, `torch.export` and ONNX
have nothing that does.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.networks import a_model
from tests.support.slides import a_slide
from tests.support.stack import Stack, wait_for

KINDS = (
    "good", "hangs", "nan", "shape", "device", "dtype", "raises", "prints", "settings"
)  # fmt: skip
"""By the blue of a yellow slide, in steps of 16."""
FAILING = (
    ("hangs", "stalled", "no progress for 5 s while classifying"),
    ("nan", "algorithm_answer_invalid", "tiles: outputs.logits holds NaN or infinity"),
    ("shape", "algorithm_answer_invalid", "tiles: outputs.logits has shape ("),
    ("device", "algorithm_answer_invalid", "tiles: outputs.logits is a tensor on the device meta"),
    ("dtype", "algorithm_answer_invalid", "tiles: outputs.logits holds numbers of type torch.co"),
    ("raises", "algorithm_raised", "no such organ"),
)
"""Kind, and the code and a part of the detail of its scan's error."""
HARMLESS = ("prints", "settings", "settings")


class Hostile(nn.Module):
    """The mean of each channel, unless the tile is of a colour that stands for something else."""

    def __init__(self) -> None:
        super().__init__()
        self.text = "x" * 100_000

    def forward(self, pixels: Tensor) -> Tensor:
        means = pixels.mean(dim=(2, 3))
        kind = 0
        if bool((means[0, 0] > 0.99).item()) and bool((means[0, 1] > 0.99).item()):
            kind = int((means[0, 2] * 255 / 16).round().item())
        scores = 10 * means
        if kind < 6:
            return self.answered(scores, kind)
        return self.done(scores, kind)

    def answered(self, scores: Tensor, kind: int) -> Tensor:
        if kind == 1:
            while bool((scores < 1e9).all().item()):
                scores = scores * 1.0
        if kind == 2:
            scores = scores * float("nan")
        if kind == 3:
            scores = scores[:, :2]
        if kind == 4:
            scores = torch.zeros([scores.shape[0], 3], device=torch.device("meta"))
        if kind == 5:
            scores = scores.to(torch.complex64)
        return scores

    def done(self, scores: Tensor, kind: int) -> Tensor:
        if kind == 6:
            raise IndexError("no such organ")
        if kind == 7:
            for _ in range(200):
                print(self.text)
        if kind == 8:
            torch.set_grad_enabled(False)
            torch.manual_seed(1)
        return scores


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of four tiles for each kind."""
    folder = tmp_path_factory.mktemp("slides")
    for number, kind in enumerate(KINDS):
        pixels = np.full((128, 128, 3), (255, 255, 16 * number), np.uint8)
        a_slide(folder / f"{kind}.svs", pixels, levels=(1,))
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, slides: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("hostile-networks")
    a_model(folder / "net", Hostile(), scripted=True, tissue_only=False, stall_limit_s=5)
    (folder / "net" / "README.md").write_text("# Hostile\n")
    (folder / "data").mkdir()
    stack = Stack(folder / "data", [slides])
    entry = {"kind": "weights", "folder": str(folder / "net")}
    stack.env["SLIDELANE_WORKER__ALGORITHMS"] = json.dumps({"net": entry})
    stack.env["SLIDELANE_WORKER__DEVICE"] = "cpu"
    with stack:
        wait_for(lambda: shown(stack).get("available"), 170, "the algorithm")
        yield stack


def shown(stack: Stack) -> dict[str, Any]:
    """The algorithm as the API shows it."""
    body: dict[str, Any] = stack.call("GET", "/v1/algorithms/net")[1] or {}
    return body


def ordered(stack: Stack, slides: Path, kind: str) -> dict[str, Any]:
    source = {"type": "path", "path": str(slides / f"{kind}.svs")}
    order = stack.order(
        algorithm="net", scans=[{"id": "1", "source": source}], destination={"type": "none"}
    )
    ended: dict[str, Any] = stack.wait_until(order, "delivered", "failed", within_s=150)
    return ended


@pytest.mark.timeout(900)
def test_each_costs_its_own_scan_alone(running: Stack, slides: Path) -> None:
    """After every hostile scan the same worker classifies a good one, with the same summary.

    What a network prints is bounded in the worker's log, and settings of torch that it changes are
    as before in the next scan.
    """
    good = ordered(running, slides, "good")
    assert good["state"] == "delivered", good["scans"][0]
    summary = good["scans"][0]["summary"]
    for kind, code, detail in FAILING:
        failed = ordered(running, slides, kind)
        assert failed["state"] == "failed", kind
        error = failed["scans"][0]["error"]
        assert (error["code"], error["blame"]) == (code, "algorithm"), (kind, error)
        assert detail in error["detail"], (kind, error)
        again = ordered(running, slides, "good")
        assert (again["state"], again["scans"][0]["summary"]) == ("delivered", summary), kind
    for kind in HARMLESS:
        ended = ordered(running, slides, kind)
        assert ended["state"] == "delivered", (kind, ended["scans"][0])
    assert (running.data / "worker.log").stat().st_size < 2**20


def test_the_readme_of_its_folder_is_shown_as_text(running: Stack) -> None:
    """By the link that the algorithm has; there is no license, and nothing else of the folder."""
    links = shown(running)["links"]
    assert links == {"self": "/v1/algorithms/net", "README.md": "/v1/algorithms/net/README.md"}
    assert running.call("GET", links["README.md"]) == (200, b"# Hostile\n")
    for name in ("LICENSE", "model.json", "..%2Fnet%2FREADME.md"):
        assert running.call("GET", f"/v1/algorithms/net/{name}")[0] == 404, name
