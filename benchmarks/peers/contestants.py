"""Who takes part, and one run of one of them: a task written down, a process in its environment, what it says.

`OURS` has the same form: a script that reads a task and says a line of JSON, in the environment of the project.
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
from benchmarks.peers.virtualenvs import KEPT, Environment

WITHIN_S = 1800


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run.

    `peak_bytes`: the most that its processes held; `probabilities`: a row for each tile; `gpu_busy`: the share of the
    time, None where nobody knows.
    """

    peer: str
    version: str
    tiles: int
    seconds: float
    peak_bytes: int
    probabilities: Probabilities | None
    gpu_busy: float | None = None

    @classmethod
    def told(cls, line: dict[str, Any]) -> Self:
        """From what a runner said and what was measured of it."""
        answer = np.load(line["probabilities"]) if line["probabilities"] else None
        return cls(
            line["peer"], line["version"], line["tiles"], line["seconds"], line["peak_rss_bytes"], answer,
            line["gpu_busy"],
        )  # fmt: skip

    @property
    def tiles_per_s(self) -> float:
        """How fast it was."""
        return self.tiles / self.seconds


@dataclass(frozen=True, slots=True)
class Contestant:
    """A runner with its way to be run; without an environment it runs in ours. `workers`: of its data loader.

    `tolerance`: how far half precision may move a probability; 0 for full precision.
    """

    name: str
    module: str
    environment: Environment | None = None
    batch: int = 32
    has_workers: bool = False
    tolerance: float = 0.0

    def python(self, say: Callable[[str], None]) -> Path:
        """The interpreter that runs it, made where it is not there."""
        return (
            virtualenvs.python_of(self.environment, say)
            if self.environment
            else Path(sys.executable)
        )

    def run(self, task: Task, say: Callable[[str], None]) -> Outcome:
        """Classify once. Raises `RuntimeError` where it fails."""
        python = self.python(say)
        with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as scratch:
            own = replace(
                task, scratch=scratch, answer=f"{scratch}/answer.npy", batch=self.batch,
                workers=task.threads if self.has_workers else 0, tolerance=self.tolerance,
            )  # fmt: skip
            file = Path(scratch) / "task.json"
            file.write_text(json.dumps(own.as_dict()))
            home = KEPT / "home"  # some write where their user lives
            home.mkdir(parents=True, exist_ok=True)
            variables = {
                "HOME": str(home),
                "PYTHONWARNINGS": "ignore",
                "OMP_NUM_THREADS": str(task.threads),
            }
            variables |= {
                "OMP_WAIT_POLICY": "PASSIVE"
            }  # who spins loses most where the cores are shared
            card = gpu.name(task.device)
            variables |= {"CUDA_VISIBLE_DEVICES": card}  # some take all that they see
            with gpu.sampled(gpu.command(card)) as samples:
                told = peak_memory.run(
                    [str(python), "-m", self.module, str(file)], variables, WITHIN_S
                )
            return Outcome.told(told | {"gpu_busy": gpu.busy(samples, *told["between"])})


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
