"""Faults that a receiver acts out on request: slow, failing, or cutting the connection. Knows no protocol."""

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Cut = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path" starts with `on`.

    `slow_s`: wait that long first. `status`: answer with it and keep nothing. `cut`: `before` reading the body, or
    `after` reading and keeping it, so that only the answer is lost.
    """

    on: str = "POST "
    times: int = 1
    slow_s: float = 0
    status: int | None = None
    retry_after: str | None = None
    cut: Cut | None = None

    def headers(self) -> dict[str, str]:
        """What the failing answer carries besides its status."""
        return {} if self.retry_after is None else {"Retry-After": self.retry_after}


class Faults:
    """The faults still to come, in the order they were asked for. Safe to change while requests come in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, fault: Fault) -> None:
        """Act this out after the ones already asked for."""
        with self._lock:
            self._waiting.append(fault)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Act out these and no others; none at all ends the trouble."""
        with self._lock:
            self._waiting = list(faults)

    def next(self, line: str) -> Fault:
        """What befalls the request `line` ("METHOD /path"), counted as acted out."""
        with self._lock:
            for position, fault in enumerate(self._waiting):
                if line.startswith(fault.on):
                    self._waiting[position : position + 1] = [
                        replace(fault, times=fault.times - 1)
                    ] * (fault.times > 1)
                    return fault
        return Fault()


def parse_faults(body: bytes) -> list[Fault]:
    """The faults of a JSON list of objects with the fields of `Fault`. Raises `ValueError`."""
    given: Any = json.loads(body)
    try:
        return [Fault(**fault) for fault in given]
    except TypeError as error:
        raise ValueError(
            f"a list of faults is needed, each with fields of {list(Fault.__slots__)}: {error}"
        ) from error
