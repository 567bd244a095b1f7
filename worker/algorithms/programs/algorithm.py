"""A program of a site as an algorithm, with the parameters of an order."""

from collections.abc import Mapping
from typing import Any, Literal

from broker.orders.algorithm_card import AlgorithmCard
from worker.programs.interface import Isolation
from worker.programs.run import Program


class ProgramAlgorithm:
    """A program that is told about one scan by its environment, and posts what it finds.

    `isolation` is what runs it apart from everything else.
    """

    works_on: Literal["program"] = "program"

    def __init__(
        self,
        card: AlgorithmCard,
        program: Program,
        parameters: Mapping[str, Any],
        isolation: Isolation,
    ) -> None:
        self.card = card
        self.program = program
        self.parameters = parameters
        self.isolation = isolation
