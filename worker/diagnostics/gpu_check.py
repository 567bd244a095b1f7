"""Check that each device computes, with a timed product of two matrices."""

import time
from dataclasses import dataclass
from typing import Final

import torch

from worker.algorithms.torch_device.device import describe, resolve

_EDGE: Final = 1000
_REPEATS: Final = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome on one device; `memory_bytes` is 0 if it has no memory of its own.

    `matmul_s` is the time of the fastest product.
    """

    name: str
    is_gpu: bool
    memory_bytes: int
    matmul_s: float
    is_right: bool


def trials(setting: str) -> list[Trial]:
    """Try every device that `worker.device` may select: all GPUs, or the one that it names.

    Raise `ConfigError` if there is no such device.
    """
    selected = describe(resolve(setting))
    if setting in ("auto", "cuda") and torch.cuda.device_count():
        return [_trial(f"cuda:{number}") for number in range(torch.cuda.device_count())]
    return [_trial(str(selected["device"]))]


def torch_version() -> str:
    """Return the versions of torch and of the CUDA that it was built for."""
    if torch.version.cuda:
        return f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"torch {torch.__version__}, built without CUDA"


def _trial(name: str) -> Trial:
    description = describe(resolve(name))
    matrix = torch.rand((_EDGE, _EDGE), device=name)
    product = matrix @ torch.eye(_EDGE, device=name)  # also warms up
    matmul_s = min(_timed_product_s(matrix) for _ in range(_REPEATS))
    return Trial(
        name=str(description["name"]),
        is_gpu=name != "cpu",
        memory_bytes=int(description.get("memory_bytes", 0)),
        matmul_s=matmul_s,
        is_right=bool(torch.allclose(product, matrix, atol=1e-2)),
    )


def _timed_product_s(matrix: torch.Tensor) -> float:
    _synchronize(matrix)
    began_at = time.perf_counter()
    _ = matrix @ matrix
    _synchronize(matrix)
    return time.perf_counter() - began_at


def _synchronize(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
