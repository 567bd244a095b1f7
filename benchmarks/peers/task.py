"""The task of a contestant, which is a file of JSON, and its result, which is a line of JSON.

Scripts in other virtual environments import this module: it needs nothing but NumPy.
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

    `tiles` is a file with an array (N, 4): x and y in level-0 pixels, offset and length of the
    stored JPEG. `model` is a folder of the WSInfer zoo. `scratch` is a folder for the contestant
    alone, `answer` the file for its probabilities. `device` is what PyTorch computes on: `cpu` or
    `cuda:0`. `tolerance` is how far half precision may move a probability.
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
    def from_command_line(cls) -> Self:
        """Return the task whose file the command line names."""
        return cls(**json.loads(Path(sys.argv[1]).read_text()))

    def as_dict(self) -> dict[str, Any]:
        """Return what `from_command_line` reads."""
        return asdict(self)

    @cached_property
    def corners(self) -> NDArray[np.int64]:
        """The corners of the tiles, (N, 2): x, y in level-0 pixels."""
        return np.asarray(np.load(self.tiles)[:, :2])

    @cached_property
    def stored(self) -> NDArray[np.int64]:
        """The stored bytes of the tiles, (N, 2): offset, length."""
        return np.asarray(np.load(self.tiles)[:, 2:])

    @cached_property
    def config(self) -> dict[str, Any]:
        """The network's `config.json`."""
        config: dict[str, Any] = json.loads((Path(self.model) / "config.json").read_text())
        return config

    @property
    def weights(self) -> str:
        """The file of the network."""
        return str(Path(self.model) / "torchscript_model.pt")

    def in_order(self, corners: NDArray[Any], probabilities: NDArray[Any]) -> Probabilities:
        """Return probabilities that are in the order of `corners` in the order of the task."""
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
    """Measure one call and print the result.

    `tiles` is the number of tiles where it is not that of the task. `between` in the result are the
    seconds since 1970 when the call began and ended.
    """
    began_at = time.time()
    began = time.perf_counter()
    probabilities = classify()
    seconds = time.perf_counter() - began
    answer = None
    if probabilities is not None:
        np.save(task.answer, probabilities)
        answer = task.answer
    result = {
        "peer": peer,
        "version": version(package),
        "tiles": tiles or len(task.corners),
        "seconds": seconds,
        "probabilities": answer,
        "between": [began_at, began_at + seconds],
    }
    print(json.dumps(result), flush=True)
