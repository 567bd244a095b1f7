"""The error of a configuration that cannot be imported."""

from collections.abc import Sequence


class ImportProblemsError(Exception):
    """The configuration cannot be imported; each problem says which key, what, and what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
