"""Reads the addresses of Kue's lists: `/jobs/{from}..{to}`, by state, by type and state, counts."""

import re
from dataclasses import dataclass
from typing import Final, Self

from broker.errors import OrderError
from services.kue.answers import KueRefusedError

NOT_A_NUMBER: Final = "ERR value is not an integer or out of range"
"""What Kue answers, which is what Redis told it."""
_LEADING_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class Listing:
    """What is asked for: the jobs in these places, the last one first where `newest_first`."""

    first: int
    last: int
    newest_first: bool = False
    state: str | None = None
    type: str | None = None

    @classmethod
    def of(cls, path: str) -> Self:
        """Return what the part of the address behind `/jobs/` asks for.

        Raise `OrderError("not_found")` for no list of Kue's, `KueRefusedError` for places that are
        no numbers.
        """
        parts = path.removesuffix("/").split("/")
        if not all(parts):
            raise _no_list()
        places = [index for index, part in enumerate(parts) if ".." in part]
        # A type may look like a range: the last part that does is the range.
        position = places[-1] if places else len(parts)
        if position > 2 or len(parts) - position not in (1, 2):
            raise _no_list()
        first, _, last = parts[position].partition("..")
        order = parts[position + 1 :]
        kind = None
        state = None
        if position == 1:
            state = parts[0]
        if position == 2:
            kind = parts[0]
            state = parts[1]
        return cls(_number(first), _number(last), order == ["desc"], state, kind)


def counted(path: str) -> tuple[str, str] | None:
    """Return type and state where `/jobs/{type}/{state}/stats` is asked for, else None."""
    parts = path.removesuffix("/").split("/")
    if len(parts) == 3 and parts[2] == "stats" and all(parts):
        return parts[0], parts[1]
    return None


def _number(text: str) -> int:
    """Return the number that a text begins with, as JavaScript reads it. Raise `OrderError`."""
    found = _LEADING_NUMBER.match(text)
    if found is None:
        raise KueRefusedError(NOT_A_NUMBER)
    return int(found[1])


def _no_list() -> OrderError:
    return OrderError(
        "not_found",
        "there is no such list",
        hint="/jobs/0..9, /jobs/failed/0..9 and /jobs/TYPE/failed/0..9 are lists",
    )
