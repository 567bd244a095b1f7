"""The rows that `slidelane doctor` shows, as its processes pass them to each other."""

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one check.

    `absent`: what was looked for is not there and need not be. `failed`: it has to be corrected.
    """

    what: str
    state: Literal["ok", "failed", "absent"]
    message: str

    @property
    def json(self) -> str:
        """The row on one line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, line: str) -> Self:
        """Return the row of a line. Raise `ValueError` for any other line."""
        try:
            return cls(**json.loads(line))
        except TypeError:
            raise ValueError("the line is no row") from None
