"""The network as every PyTorch runner loads it, and the normalisation that its folder asks for."""

import warnings
from typing import Any

import torch

from benchmarks.peers.task import Task


def load(task: Task) -> torch.jit.ScriptModule:
    """The network on the task's device and as many threads as it grants, warm for its batch and for one tile.

    Raises `RuntimeError` where this PyTorch does not see the device.
    """
    torch.set_num_threads(task.threads)
    model = jit(lambda: torch.jit.load(task.weights, map_location=task.device).eval())
    edge = task.config["patch_size_pixels"]
    with torch.inference_mode():
        for batch in (task.batch, 1):
            for _ in range(4):  # TorchScript profiles the first calls
                model(torch.zeros(batch, 3, edge, edge, device=task.device))
    return model


def jit(make: Any) -> Any:
    """TorchScript without its farewell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return make()


def normalisation(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation, (3, 1, 1), of pixels from 0 to 1."""
    step = next(step for step in task.config["transform"] if step["name"] == "Normalize")
    mean, std = (torch.tensor(step["arguments"][name]).reshape(3, 1, 1) for name in ("mean", "std"))
    return mean, std
