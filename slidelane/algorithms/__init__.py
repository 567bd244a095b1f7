"""The public interface for algorithms written in Python. docs/python-api.md is its reference.

Imports the standard library only and nothing else of Slidelane, so that everybody may import it.
"""

from slidelane.algorithms.card import Card, CardError, Class, Parameter
from slidelane.algorithms.check import AnswerError, check_answer
from slidelane.algorithms.interface import (
    API_VERSION,
    Context,
    ContextTile,
    Found,
    ImageFunction,
    Result,
    Roi,
    Stop,
    TileModel,
)
from slidelane.algorithms.load import load_card
from slidelane.algorithms.runner import RunError, run

__all__ = [
    "API_VERSION",
    "AnswerError",
    "Card",
    "CardError",
    "Class",
    "Context",
    "ContextTile",
    "Found",
    "ImageFunction",
    "Parameter",
    "Result",
    "Roi",
    "RunError",
    "Stop",
    "TileModel",
    "check_answer",
    "load_card",
    "run",
]
