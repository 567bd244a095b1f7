"""Keeps one dead or slow destination from filling the courier: few attempts at once, a pause after repeated silence.

Knows hosts and outcomes, no protocol. Each courier has its own; nothing here is kept.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from broker.errors import TemporaryError
from worker.delivery.payload import Receipt

SILENT_TIMES = 3
PAUSE_S = 30.0
BUSY_S = 1.0


@dataclass
class _Host:
    inside: int = 0
    silent: int = 0
    closed_until: float = 0.0


class CircuitBreakers:
    """One circuit for each host. Threads share it."""

    def __init__(self, at_once: int) -> None:
        self._at_once, self._lock = at_once, Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def through(self, host: str) -> Iterator["CircuitBreakers"]:
        """One exchange with the host; none is needed for `""`.

        Raises `TemporaryError` at once: `destination_unreachable` while it is silent, `destination_busy` while it has
        its share of our threads.
        """
        if not host:
            yield self
            return
        with self._lock:
            known = self._hosts.setdefault(host, _Host())
            self._refuse(host, known)
            known.inside += 1
        try:
            yield self
        except TemporaryError as error:
            if error.code == "destination_unreachable":
                self.hear(host, Receipt("later", detail=error.detail))
            raise
        finally:
            with self._lock:
                known.inside -= 1
                if not known.inside and not known.silent:
                    del self._hosts[host]

    def _refuse(self, host: str, known: _Host) -> None:
        wait_s = known.closed_until - time.monotonic()
        if wait_s > 0:
            detail = f"{host} was silent {known.silent} times in a row; it is left alone for {wait_s:.0f} s"
            raise TemporaryError("destination_unreachable", detail, retry_after_s=wait_s)
        if known.inside >= (1 if known.silent >= SILENT_TIMES else self._at_once):
            raise TemporaryError(
                "destination_busy", f"{host} has its share of our threads", retry_after_s=BUSY_S
            )

    def hear(self, host: str, receipt: Receipt) -> None:
        """Count silence; any answer, also a refusal, ends it."""
        with self._lock:
            known = self._hosts.setdefault(host, _Host())
            if receipt.status is not None or receipt.outcome == "accepted":
                known.silent, known.closed_until = 0, 0.0
                return
            known.silent += 1
            if known.silent >= SILENT_TIMES:
                known.closed_until = time.monotonic() + PAUSE_S
