"""Limit what one slow or dead destination costs a courier.

Each host gets a limited number of exchanges at the same time, and a pause after repeated failures
to answer. The state lives in this process only; every courier has its own.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from broker.errors import TemporaryError
from worker.delivery.payload import Receipt

FAILURES_TO_OPEN = 3
PAUSE_S = 30.0
BUSY_RETRY_S = 1.0


@dataclass
class _Host:
    """The state of one host's breaker.

    `failures` counts attempts without an answer in a row; `last_failure` says how the last ended.
    """

    active: int = 0
    failures: int = 0
    last_failure: str = ""
    open_until: float = 0.0


class CircuitBreakers:
    """One circuit breaker for each host; threads share the object.

    A host has at most `max_concurrent` exchanges at the same time. A host that did not answer
    `FAILURES_TO_OPEN` times in a row is not contacted for `PAUSE_S`, and then by one thread first.
    """

    def __init__(self, max_concurrent: int) -> None:
        self._max_concurrent = max_concurrent
        self._lock = Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def acquire(self, name: str) -> Iterator[None]:
        """Hold one of the host's slots while the context lasts; an empty name needs none.

        Raise `TemporaryError` at once: `destination_unreachable` while the breaker is open,
        `destination_busy` while all slots of the host are in use.
        """
        if not name:
            yield
            return
        with self._lock:
            host = self._hosts.setdefault(name, _Host())
            self._raise_if_refused(name, host)
            host.active += 1
        try:
            yield
        except TemporaryError as error:
            if error.code == "destination_unreachable":
                self.record(name, Receipt("later", detail=error.detail))
            raise
        finally:
            with self._lock:
                host.active -= 1
                if not host.active and not host.failures:
                    del self._hosts[name]

    def record(self, name: str, receipt: Receipt) -> None:
        """Count a missing answer; any answer, also a refusal, closes the breaker again."""
        with self._lock:
            host = self._hosts.setdefault(name, _Host())
            if receipt.status is not None or receipt.outcome == "accepted":
                host.failures = 0
                host.open_until = 0.0
                return
            host.failures += 1
            host.last_failure = receipt.detail
            if host.failures >= FAILURES_TO_OPEN:
                host.open_until = time.monotonic() + PAUSE_S

    def _raise_if_refused(self, name: str, host: _Host) -> None:
        wait_s = host.open_until - time.monotonic()
        if wait_s > 0:
            raise TemporaryError(
                "destination_unreachable",
                f"{name} gave no answer {host.failures} times in a row "
                f"({host.last_failure}); it is left alone for {wait_s:.0f} s",
                retry_after_s=wait_s,
            )
        if host.active >= self._slots(host):
            raise TemporaryError(
                "destination_busy",
                f"{name} already has its share of the delivery threads",
                retry_after_s=BUSY_RETRY_S,
            )

    def _slots(self, host: _Host) -> int:
        """Return how many exchanges the host may have now; one until a failing host answers."""
        if host.failures >= FAILURES_TO_OPEN:
            return 1
        return self._max_concurrent
