"""The limit of the network: forward passes alone, in the fastest of several arrangements."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any

import torch

from benchmarks.peers.runners.model import jit, load
from benchmarks.peers.task import Task, run

TRIED_TILES = {"cpu": 128, "cuda": 4096}
BATCHES = {"cpu": (4, 16, 64), "cuda": (16, 64, 256)}


@dataclass(frozen=True)
class Arrangement:
    """`inputs`: a batch for each thread. `threads`: how many PyTorch uses in each of them."""

    model: Any
    inputs: tuple[torch.Tensor, ...]
    threads: int

    def tiles(self, at_least: int) -> int:
        """Return how many tiles are classified where at least so many are requested."""
        step = len(self.inputs) * len(self.inputs[0])
        return -(-at_least // step) * step

    def run(self, at_least: int) -> None:
        """Classify so many tiles."""
        times = self.tiles(at_least) // len(self.inputs) // len(self.inputs[0])
        with ThreadPoolExecutor(len(self.inputs)) as pool:
            list(pool.map(partial(self._forwards, times), self.inputs))

    @torch.inference_mode()
    def _forwards(self, times: int, inputs: torch.Tensor) -> None:
        # This is set for each thread.
        torch.set_num_threads(self.threads)
        for _ in range(times):
            self.model(inputs)
        if inputs.is_cuda:
            torch.cuda.synchronize(inputs.device)

    def tiles_per_s(self) -> float:
        """Return the speed of one trial, or 0 where the arrangement does not run on this GPU."""
        wanted = TRIED_TILES[self.inputs[0].device.type]
        try:
            self.run(1)
            self.run(1)
        except RuntimeError:
            return 0.0
        began = perf_counter()
        self.run(wanted)
        return self.tiles(wanted) / (perf_counter() - began)


def main() -> None:
    """Run the benchmark."""
    task = Task.from_command_line()
    best = max(_arrangements(task), key=Arrangement.tiles_per_s)
    wanted = len(task.corners)
    run(task, "network alone", "torch", lambda: best.run(wanted), best.tiles(wanted))


def _arrangements(task: Task) -> list[Arrangement]:
    loaded = load(task)
    models = (
        jit(lambda: torch.jit.freeze(loaded)),
        jit(lambda: torch.jit.optimize_for_inference(loaded)),
    )
    layouts = (torch.contiguous_format, torch.channels_last)
    edge = task.config["patch_size_pixels"]
    kind = torch.device(task.device).type
    together = {1}
    if kind == "cpu":
        together = {1, task.threads}
    return [
        Arrangement(
            model,
            tuple(
                torch.rand(batch, 3, edge, edge).to(task.device, memory_format=layout)
                for _ in range(at_once)
            ),
            task.threads // at_once,
        )
        for model, layout, batch, at_once in product(
            models, layouts, BATCHES[kind], sorted(together)
        )
    ]


if __name__ == "__main__":
    main()
