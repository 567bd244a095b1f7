"""What code can change for a whole process, to compare before and after a scan."""

import os
import signal
import sys
import warnings
from typing import Any, Final

import numpy as np

_TORCH_DEFAULTS: Final[dict[str, Any]] = {
    "torch default dtype": "torch.float32",
    "torch grad mode": True,
    "torch cudnn.enabled": True,
    "torch cudnn.benchmark": False,
    "torch cudnn.deterministic": False,
    "torch deterministic algorithms": False,
    "torch float32 matmul precision": "highest",
}
"""Without the number of threads, which differs from machine to machine."""
State = dict[str, Any]


def global_state() -> State:
    """Return the state of this process, and of this thread, by what a person calls it."""
    state: State = {
        "working directory": _working_directory(),
        "environment": dict(os.environ),
        "recursion limit": sys.getrecursionlimit(),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "warnings filters": list(warnings.filters),
        "umask": _umask(),
    }
    return state | thread_state() | _torch_state()


def thread_state() -> State:
    """Return what belongs to the calling thread; it is asked for after every batch."""
    state: State = {"numpy error state": np.geterr()}
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch grad mode"] = torch.is_grad_enabled()
    return state


def changes(before: State, after: State) -> list[str]:
    """Return the names of what differs. What torch had before it was imported are its defaults."""
    found = []
    for name, value in after.items():
        old = before.get(name, _TORCH_DEFAULTS.get(name, value))
        if old != value:
            found.append(name)
    return found


def _torch_state() -> State:
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    cudnn = torch.backends.cudnn
    return {
        "torch default dtype": str(torch.get_default_dtype()),
        "torch threads": torch.get_num_threads(),
        "torch grad mode": torch.is_grad_enabled(),
        "torch cudnn.enabled": cudnn.enabled,
        "torch cudnn.benchmark": cudnn.benchmark,
        "torch cudnn.deterministic": cudnn.deterministic,
        "torch deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch float32 matmul precision": torch.get_float32_matmul_precision(),
    }


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a path object would be made at each call
    except FileNotFoundError:
        return ""


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
