"""Checks whether a device computes: multiplies two matrices and takes the time."""

import time
from dataclasses import dataclass
from typing import Final

import torch

from worker.algorithms.torch_device.device import describe, resolve

_EDGE: Final = 1000
_REPEATS: Final = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One device and its fastest matrix product.

    `memory_bytes` is 0 for a CPU. `is_right` is False where the product was wrong.
    """

    name: str
    is_gpu: bool
    memory_bytes: int
    matmul_s: float
    is_right: bool


def trials(setting: str) -> list[Trial]:
    """Try each device that `worker.device` may mean: every GPU, or the one device that it names.

    Raises ConfigError where there is no such device.
    """
    device = describe(resolve(setting))
    gpus = torch.cuda.device_count()
    if setting in ("auto", "cuda") and gpus:
        return [_trial(f"cuda:{number}") for number in range(gpus)]
    return [_trial(str(device["device"]))]


def torch_version() -> str:
    """Return the version of torch and of the CUDA that it was built for."""
    if torch.version.cuda:
        return f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"torch {torch.__version__}, built without CUDA"


def _trial(name: str) -> Trial:
    device = describe(resolve(name))
    square = torch.rand((_EDGE, _EDGE), device=name)
    product = square @ torch.eye(_EDGE, device=name)  # also warms up
    return Trial(
        name=str(device["name"]),
        is_gpu=name != "cpu",
        memory_bytes=int(device.get("memory_bytes", 0)),
        matmul_s=min(_product_s(square) for _ in range(_REPEATS)),
        is_right=bool(torch.allclose(product, square, atol=1e-2)),
    )


def _product_s(square: torch.Tensor) -> float:
    _wait_for(square)
    started_at = time.perf_counter()
    _ = square @ square
    _wait_for(square)
    return time.perf_counter() - started_at


def _wait_for(square: torch.Tensor) -> None:
    if square.is_cuda:
        torch.cuda.synchronize(square.device)
