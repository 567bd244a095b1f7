"""What a check of this installation came to, as `slidelane doctor` and the bench's own part of it tell each other.

Owns the shape of a row. Must not know what is checked.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Row:
    """One check. `absent` is what is not there and need not be; `failed` what must be mended."""

    what: str
    state: Literal["ok", "failed", "absent"]
    said: str

    @property
    def json(self) -> str:
        """The row on one line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, line: str) -> Self:
        """The row of a line. Raises `ValueError` for any other line."""
        try:
            return cls(**json.loads(line))
        except TypeError:
            raise ValueError("the line is no row") from None
