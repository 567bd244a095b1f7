"""The cards of the built-in algorithms, as they are announced. Loads no torch."""

import hashlib
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.builtin.box_grid import CARD as GRID
from worker.algorithms.builtin.ki67.card import CARD as KI67
from worker.algorithms.parameters import JSON_SCHEMA, NoParameters, StainParameters, schema
from worker.algorithms.python.api_card import algorithm_card, parameters_model

__all__ = [
    "JSON_SCHEMA",
    "NoParameters",
    "StainParameters",
    "grid_card",
    "grid_parameters",
    "ki67_card",
    "ki67_parameters",
    "schema",
]


def ki67_card() -> AlgorithmCard:
    """Return the card of `ki67`."""
    sources = ("arrays", "card", "stain", "nuclei", "outlines", "ki67")
    return algorithm_card("ki67", KI67, _digest(*[f"ki67/{name}.py" for name in sources]))


def grid_card() -> AlgorithmCard:
    """Return the card of `grid`, which tests a route to a destination without a classifier."""
    return algorithm_card("grid", GRID, _digest("box_grid.py"))


@cache
def ki67_parameters() -> type[BaseModel]:
    """Return what an order may set on `ki67`."""
    return parameters_model("Ki67", KI67)


@cache
def grid_parameters() -> type[BaseModel]:
    """Return what an order may set on `grid`."""
    return parameters_model("Grid", GRID)


def _digest(*sources: str) -> str:
    """Return a digest of these files of this package: the source of an algorithm."""
    folder = Path(__file__).parent
    contents = [(folder / name).read_bytes() for name in sources]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()
