"""Whether the device computes: a product of two matrices, timed. Knows torch, and no algorithm."""

import time
from dataclasses import dataclass
from typing import Final

import torch

from worker.algorithms.torch_device.device import describe, resolve

_EDGE: Final = 1000
_TIMES: Final = 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One device: its name, whether it is a GPU, its memory where that is its own, and the quickest product."""

    name: str
    is_gpu: bool
    memory_bytes: int
    matmul_s: float
    is_right: bool


def trials(setting: str) -> list[Trial]:
    """The devices that `worker.device` may lead to, each tried: every GPU, or the one device that it names.

    Raises `ConfigError` where there is no such device.
    """
    told = describe(resolve(setting))
    several = setting in ("auto", "cuda") and torch.cuda.device_count()
    names = [f"cuda:{number}" for number in range(several)] if several else [str(told["device"])]
    return [_trial(name) for name in names]


def torch_version() -> str:
    """Which torch this is, and for which CUDA it was built."""
    return f"torch {torch.__version__}" + (
        f", CUDA {torch.version.cuda}" if torch.version.cuda else ", built without CUDA"
    )


def _trial(name: str) -> Trial:
    told = describe(resolve(name))
    square = torch.rand((_EDGE, _EDGE), device=name)
    same = square @ torch.eye(_EDGE, device=name)  # also warms up
    took_s = min(_timed(square) for _ in range(_TIMES))
    is_right = bool(torch.allclose(same, square, atol=1e-2))
    return Trial(
        str(told["name"]), name != "cpu", int(told.get("memory_bytes", 0)), took_s, is_right
    )


def _timed(square: torch.Tensor) -> float:
    _wait_for(square)
    began = time.perf_counter()
    _ = square @ square
    _wait_for(square)
    return time.perf_counter() - began


def _wait_for(square: torch.Tensor) -> None:
    if square.is_cuda:
        torch.cuda.synchronize(square.device)
