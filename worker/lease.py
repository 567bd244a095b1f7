"""Holding work while it is done: renewed from a thread, carrying progress, told when to stop."""

import logging
import time
from threading import Event, Lock, Thread
from typing import Any, Self

from broker.config import BrokerSettings
from broker.errors import TemporaryError
from broker.store import Claim, OrderStore
from worker.values import Stop

_TICK_S = 1.0
_log = logging.getLogger(__name__)


class Lease:
    """A claim, kept alive until the context ends. `progress` raises `Stop` once the work is not wanted or not ours."""

    def __init__(self, store: OrderStore, claim: Claim, settings: BrokerSettings) -> None:
        self._store, self._claim, self._settings = store, claim, settings
        self._ended, self._lock = Event(), Lock()
        self._told: dict[str, Any] = {}
        self._changed = False
        self._stage_began = time.monotonic()
        self._confirmed = time.monotonic()
        self.refusal = ""
        self._thread = Thread(target=self._beat, name=f"lease-{claim.work}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, stage: str, done: int, total: int) -> None:
        """Say how far the work is. Raises `Stop`."""
        with self._lock:
            if self._told.get("stage") != stage:
                self._stage_began = time.monotonic()
            spent_s = time.monotonic() - self._stage_began
            eta_s = round(spent_s / done * (total - done), 1) if 0 < done <= total else None
            self._told = {"stage": stage, "done": done, "total": total, "eta_s": eta_s}
            self._changed = True
        self.check()

    def check(self) -> None:
        """Raises `Stop` when the work must end: cancelled, taken over, or out of touch with Redis for a whole lease."""
        if not self.refusal and time.monotonic() - self._confirmed > self._settings.lease_s:
            self.refusal = "lost"
        if self.refusal:
            raise Stop(self.refusal)

    def confirm(self) -> None:
        """Ask Redis now, before something that cannot be taken back. Raises `Stop` or `TemporaryError`."""
        self._hear(self._store.renew(self._claim))
        self.check()

    def _hear(self, answer: str) -> None:
        if answer == "ok":
            self._confirmed = time.monotonic()
        else:
            self.refusal = answer

    def _beat(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(min(_TICK_S, self._settings.heartbeat_s)):
            with self._lock:
                told = self._told if self._changed else {}
                self._changed = False
            try:
                if told or time.monotonic() - renewed >= self._settings.heartbeat_s:
                    self._hear(self._store.renew(self._claim, told))
                    renewed = time.monotonic()
                else:
                    self._hear(self._store.look(self._claim))
            except TemporaryError as error:
                _log.warning("a heartbeat was lost: %s", error.detail, extra={"work": self._claim.work})
