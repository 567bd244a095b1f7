"""The error of an algorithm that answers what no result can be made of. Loads no torch."""

from broker.errors import OrderError


class AlgorithmAnswerError(OrderError):
    """An algorithm answers what no result can be made of. Code: `algorithm_answer_invalid`."""

    def __init__(
        self, detail: str, hint: str = "the owner of the network compares it with its description"
    ) -> None:
        super().__init__("algorithm_answer_invalid", detail, hint=hint)
