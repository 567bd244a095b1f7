"""Loads the network for every PyTorch runner, and the normalisation of its folder."""

import warnings
from typing import Any

import torch

from benchmarks.peers.task import Task


def load(task: Task) -> torch.jit.ScriptModule:
    """Return the network on the task's device, warmed up for its batch and for one tile.

    Raise `RuntimeError` where this PyTorch does not see the device.
    """
    torch.set_num_threads(task.threads)
    model = jit(lambda: torch.jit.load(task.weights, map_location=task.device).eval())
    edge = task.config["patch_size_pixels"]
    with torch.inference_mode():
        for batch in (task.batch, 1):
            # TorchScript profiles the first calls.
            for _ in range(4):
                model(torch.zeros(batch, 3, edge, edge, device=task.device))
    return model


def jit(make: Any) -> Any:
    """Call `make` without TorchScript's warning that it is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return make()


def normalisation(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation, (3, 1, 1), of pixels from 0 to 1."""
    step = next(step for step in task.config["transform"] if step["name"] == "Normalize")
    mean, std = (torch.tensor(step["arguments"][name]).reshape(3, 1, 1) for name in ("mean", "std"))
    return mean, std
