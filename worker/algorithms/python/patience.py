"""How long an answer of a site's code is waited for, and what counts as progress meanwhile."""

import socket
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final, cast

from broker.errors import OrderError
from worker.algorithms.python.calls import answer_call
from worker.algorithms.python.messages import send
from worker.algorithms.python.open_scan import OpenScan, Waiting
from worker.process.process_tree import used_s
from worker.progress import ProcessorTime, StopWork

_STOP_S: Final = 1.0
"""How long code may take to let a `Stop` pass before it is ended."""
_LOOK_S: Final = 1.0
"""How often it is looked whether code that says nothing computes."""


class Patience:
    """How long an answer is waited for: until the work must stop, or no longer moves on."""

    def __init__(self, scan: Waiting) -> None:
        self._scan = scan
        self._stop: StopWork | None = None
        self._stopped_at = 0.0

    def look(self) -> None:
        """Notice that the work must stop."""
        try:
            self._scan.check()
        except StopWork as stop:
            self._note(stop)

    def check(self, fields: Mapping[str, Any]) -> None:
        """Raise StopWork for an error of code that was told to stop."""
        if self._stop is not None and "error" in fields:
            raise self._stop

    def answer(self, connection: socket.socket, fields: Mapping[str, Any]) -> None:
        """Do what the code calls for, or tell it to stop."""
        if self._stop is not None:
            send(connection, {"stop": True})
            return
        stop = answer_call(connection, cast("OpenScan", self._scan), fields)
        if stop is not None:
            self._note(stop)

    def error(self) -> Exception | None:
        """Return why nothing is waited for any more, or None."""
        if self._stop is not None and monotonic() - self._stopped_at > _STOP_S:
            return self._stop
        if self._scan.still_s > self._scan.stall_limit_s:
            return OrderError(
                "stalled",
                f"no progress for {self._scan.stall_limit_s:g} s, which is the limit; "
                "its process was ended",
                hint="code that waits for long calls context.progress",
                blame="algorithm",
            )
        return None

    def _note(self, stop: StopWork) -> None:
        if self._stop is None:
            self._stop = stop
            self._stopped_at = monotonic()


class Computing:
    """Notes that a scan moves on while the processes of its code use a processor."""

    def __init__(self, guard_id: int, scan: OpenScan) -> None:
        self._guard_id = guard_id
        self._scan = scan
        self._processor = ProcessorTime()
        self._processor.has_computed(used_s(guard_id))
        self._looked_at = monotonic()
        scan.moved()  # it begins now, after its process was started

    def look(self) -> None:
        """Look whether they did, once a second."""
        now = monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        if self._processor.has_computed(used_s(self._guard_id)):
            self._scan.moved()
