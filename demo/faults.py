"""Faults that a receiver can be told to have: slow, failing, or cutting the connection."""

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Cut = Literal["before", "after"]
Page = Literal["instead", "after"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path" starts with `on`.

    `slow_s`: wait that long first; the body is accepted even if the client has hung up meanwhile.
    `status`: answer with it and accept nothing. `cut`: close the connection `before` reading the
    body, or `after` accepting it, so that only the answer is lost. `page`: answer 200 with a page
    of HTML, as a proxy that wants a login does, `instead` of accepting the body or `after` it.
    """

    on: str = "POST "
    times: int = 1
    slow_s: float = 0
    status: int | None = None
    retry_after: str | None = None
    cut: Cut | None = None
    page: Page | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers of the failing answer."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": self.retry_after}


class Faults:
    """A queue of faults. Threads may change it while requests are served."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, fault: Fault) -> None:
        """Put the fault behind those that wait."""
        with self._lock:
            self._waiting.append(fault)

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put these in the place of all that wait."""
        with self._lock:
            self._waiting = list(faults)

    def next(self, line: str) -> Fault:
        """Take one time of the first fault for the request `line` ("METHOD /path").

        Return a fault in which nothing goes wrong where there is none.
        """
        with self._lock:
            for position, fault in enumerate(self._waiting):
                if not line.startswith(fault.on):
                    continue
                if fault.times > 1:
                    self._waiting[position] = replace(fault, times=fault.times - 1)
                else:
                    del self._waiting[position]
                return fault
        return Fault()


def parse_faults(body: bytes) -> list[Fault]:
    """Return the faults of a JSON list of objects like `Fault`. Raise `ValueError`."""
    given: Any = json.loads(body)
    try:
        return [Fault(**fault) for fault in given]
    except TypeError as error:
        raise ValueError(
            f"a list of faults is needed, each with fields of {list(Fault.__slots__)}: {error}"
        ) from error
