"""The `Context` of the built-in algorithms, in the worker's own process. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slidelane.algorithms import Roi
from worker.geometry.frame import Pixels


@dataclass(frozen=True, slots=True)
class BuiltinContext:
    """What the built-in algorithms look at of a `Context`."""

    parameters: Mapping[str, Any]
    samples: Pixels
    roi: Roi | None = None
    mpp_x: float | None = None
    mpp_y: float | None = None
