"""The errors of an algorithm whose answer makes no result, or that fails. Loads no torch."""

import re
from typing import Final

from broker.errors import OrderError

_MESSAGE_CHARS: Final = 300
_FOLDERS: Final = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][\w.+@-]+)*[/\\](?=[\w.+@-])")
"""The folders of an absolute path, up to the name of its file."""


class AlgorithmAnswerError(OrderError):
    """An algorithm answers what no result can be made of. Code: `algorithm_answer_invalid`."""

    def __init__(
        self, detail: str, hint: str = "the owner of the network compares it with its description"
    ) -> None:
        super().__init__("algorithm_answer_invalid", detail, hint=hint)

    def of_output(self, output: str) -> "AlgorithmAnswerError":
        """Return the error whose detail begins with the output of the algorithm."""
        if self.detail.startswith(f"{output}: "):
            return self
        return AlgorithmAnswerError(f"{output}: {self.detail}", self.hint)


class AlgorithmRaisedError(OrderError):
    """An algorithm fails with an error of its own. Code: `algorithm_raised`."""

    def __init__(
        self, detail: str, hint: str = "the owner of the algorithm looks for the cause"
    ) -> None:
        super().__init__("algorithm_raised", detail, hint=hint)


def last_line(error: BaseException) -> str:
    """Return the error's class and the last line of its message, without the folders of paths."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    if not lines:
        return name
    text = _FOLDERS.sub("", " ".join(lines[-1].split()))[:_MESSAGE_CHARS]
    if text.startswith(f"{name}: "):
        return text
    return f"{name}: {text}"
