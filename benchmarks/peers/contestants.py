"""The contestants, and how one of them is run: a task as a file, a process, its line of JSON.

`OURS` are scripts of the same form, which run in the environment of the project.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks import gpu, peak_memory
from benchmarks.peers import virtualenvs
from benchmarks.peers.task import Probabilities, Task
from benchmarks.peers.virtualenvs import CACHE, Virtualenv

WITHIN_S = 1800


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run.

    `peak_bytes`: the most memory of its processes. `probabilities`: a row for each tile.
    `gpu_busy`: the share of the time, None where it is not known.
    """

    peer: str
    version: str
    tiles: int
    seconds: float
    peak_bytes: int
    probabilities: Probabilities | None
    gpu_busy: float | None = None

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> Self:
        """Return the result from what a runner printed and what was measured."""
        answer = None
        if line["probabilities"]:
            answer = np.load(line["probabilities"])
        return cls(
            line["peer"],
            line["version"],
            line["tiles"],
            line["seconds"],
            line["peak_rss_bytes"],
            answer,
            line["gpu_busy"],
        )

    @property
    def tiles_per_s(self) -> float:
        """Tiles per second."""
        return self.tiles / self.seconds


@dataclass(frozen=True, slots=True)
class Contestant:
    """A runner, and how it is run. Without a virtual environment it runs in ours.

    `has_workers`: whether its data loader has processes of its own. `tolerance`: how far half
    precision may move a probability; 0 for full precision.
    """

    name: str
    module: str
    virtualenv: Virtualenv | None = None
    batch: int = 32
    has_workers: bool = False
    tolerance: float = 0.0

    def python(self, report: Callable[[str], None]) -> Path:
        """Return its interpreter; make the virtual environment first where it is missing."""
        if self.virtualenv is None:
            return Path(sys.executable)
        return virtualenvs.python_of(self.virtualenv, report)

    def run(self, task: Task, report: Callable[[str], None]) -> Outcome:
        """Classify once. Raise `RuntimeError` where it fails."""
        python = self.python(report)
        with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as scratch:
            workers = 0
            if self.has_workers:
                workers = task.threads
            own = replace(
                task,
                scratch=scratch,
                answer=f"{scratch}/answer.npy",
                batch=self.batch,
                workers=workers,
                tolerance=self.tolerance,
            )
            file = Path(scratch) / "task.json"
            file.write_text(json.dumps(own.as_dict()))
            # Some write to the home folder of their user.
            home = CACHE / "home"
            home.mkdir(parents=True, exist_ok=True)
            card = gpu.name(task.device)
            variables = {
                "HOME": str(home),
                "PYTHONWARNINGS": "ignore",
                "OMP_NUM_THREADS": str(task.threads),
                # Threads that spin cost most where the cores are shared.
                "OMP_WAIT_POLICY": "PASSIVE",
                # Some take every GPU that they see.
                "CUDA_VISIBLE_DEVICES": card,
            }
            command = [str(python), "-m", self.module, str(file)]
            with gpu.sampled(gpu.command(card)) as samples:
                line = peak_memory.run(command, variables, WITHIN_S)
            began, ended = line["between"]
            return Outcome.from_line(line | {"gpu_busy": gpu.busy(samples, began, ended)})


_RUNNERS = "benchmarks.peers.runners"
DECODE = Contestant("decoding alone", f"{_RUNNERS}.decode", virtualenvs.PLAIN)
FORWARD = Contestant("network alone", f"{_RUNNERS}.forward", virtualenvs.PLAIN)
PEERS = (
    Contestant("plain loop", f"{_RUNNERS}.loop", virtualenvs.PLAIN),
    Contestant("MONAI with cuCIM", f"{_RUNNERS}.monai", virtualenvs.MONAI),
    Contestant(
        "MONAI with cuCIM, workers", f"{_RUNNERS}.monai", virtualenvs.MONAI, has_workers=True
    ),
    Contestant("WSInfer", f"{_RUNNERS}.wsinfer", virtualenvs.WSINFER),
    Contestant("WSInfer, workers", f"{_RUNNERS}.wsinfer", virtualenvs.WSINFER, has_workers=True),
    Contestant("TIAToolbox", f"{_RUNNERS}.tiatoolbox", virtualenvs.TIATOOLBOX),
    Contestant(
        "TIAToolbox, workers", f"{_RUNNERS}.tiatoolbox", virtualenvs.TIATOOLBOX, has_workers=True
    ),
)
OURS = (
    Contestant("Slidelane", f"{_RUNNERS}.ours"),
    Contestant("Slidelane, half precision", f"{_RUNNERS}.ours", tolerance=0.1),
)
FEED = Contestant("Slidelane's feed alone", f"{_RUNNERS}.feed_alone")
