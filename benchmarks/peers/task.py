"""What a contestant is told, and what it says: a file of JSON in, one line of JSON out.

Read by scripts that run in other environments: needs nothing but NumPy.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """Classify these tiles of this slide with this network.

    `tiles` is an array (N, 4): x and y in level-0 pixels, offset and length of the stored JPEG. `model` is a folder of
    the WSInfer zoo. `scratch` is a folder of the contestant's own, `answer` where its probabilities go. `device` is
    what PyTorch computes on: `cpu` or `cuda:0`. `tolerance` is what our own card allows half precision to change.
    """

    slide: str
    tiles: str
    model: str
    scratch: str
    answer: str
    threads: int
    workers: int
    batch: int
    device: str = "cpu"
    tolerance: float = 0.0

    @classmethod
    def told(cls) -> Self:
        """The task whose file the command line names."""
        return cls(**json.loads(Path(sys.argv[1]).read_text()))

    def as_dict(self) -> dict[str, Any]:
        """What `told` reads."""
        return asdict(self)

    @cached_property
    def corners(self) -> NDArray[np.int64]:
        """Where the tiles are, (N, 2): x, y."""
        return np.asarray(np.load(self.tiles)[:, :2])

    @cached_property
    def stored(self) -> NDArray[np.int64]:
        """Where their bytes are, (N, 2): offset, length."""
        return np.asarray(np.load(self.tiles)[:, 2:])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The network's `config.json`."""
        told: dict[str, Any] = json.loads((Path(self.model) / "config.json").read_text())
        return told

    @property
    def weights(self) -> str:
        """The network itself."""
        return str(Path(self.model) / "torchscript_model.pt")

    def in_order(self, corners: NDArray[Any], probabilities: NDArray[Any]) -> Probabilities:
        """Probabilities that came in the order of `corners`, in the order of the task."""
        place = {(int(x), int(y)): number for number, (x, y) in enumerate(corners)}
        return np.asarray(probabilities, np.float32)[
            [place[int(x), int(y)] for x, y in self.corners]
        ]


def run(
    task: Task,
    peer: str,
    package: str,
    classify: Callable[[], Probabilities | None],
    tiles: int | None = None,
) -> None:
    """Measure one call, which is ready to go, and say what came of it; `tiles` where it is not those of the task.

    `between` are the seconds since 1970 when it began and ended.
    """
    at, began = time.time(), time.perf_counter()
    probabilities = classify()
    seconds = time.perf_counter() - began
    if probabilities is not None:
        np.save(task.answer, probabilities)
    answer = task.answer if probabilities is not None else None
    told = {
        "peer": peer,
        "version": version(package),
        "tiles": tiles or len(task.corners),
        "seconds": seconds,
    }
    print(json.dumps(told | {"probabilities": answer, "between": [at, at + seconds]}), flush=True)
