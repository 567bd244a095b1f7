"""Publishes what happens to Kue's jobs, for listeners that read it in Redis as Kue wrote it there.

Every courier runs one, and one of them at a time publishes. It goes on behind the last event that
was published, so that none is lost when it ends; the one that it was at may be published twice.
"""

import logging
from threading import Event

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.kue import KueEvent, KueJob, KueListeners
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import Config

_TICK_S = 0.25
_LEAD_S = 10.0
_PROGRESS_EVERY = 4
"""Progress is looked at once in so many ticks."""
_MAX_ACTIVE = 200
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_log = logging.getLogger(__name__)


def kue_publisher(config: Config, store: OrderStore, name: str) -> "KuePublisher | None":
    """Return the publisher of the settings, or None where they want none. Raise `ConfigError`."""
    settings = config.services.kue
    if not settings.publish_events:
        return None
    address = RedisUrl.of(config.broker)
    if settings.events_url is not None:
        address = RedisUrl.at(settings.events_url.get_secret_value())
    keep_s = config.broker.order_life_s + config.broker.keep_s
    return KuePublisher(store, KueListeners(address, keep_s), name)


class KuePublisher:
    """Follows the record of one store, and tells one Redis of listeners."""

    def __init__(self, store: OrderStore, listeners: KueListeners, name: str) -> None:
        self._store = store
        self._listeners = listeners
        self._name = name
        self._percents: dict[int, int] = {}
        self._ticks = 0

    def run(self, stopped: Event) -> None:
        """Publish until `stopped`; go on after an outage of either Redis."""
        pause_s = _TICK_S
        while not stopped.wait(pause_s):
            fault = self._fault_of_step(is_first=pause_s == _TICK_S)
            if fault:
                pause_s = min(_LONGEST_PAUSE_S, max(_FIRST_PAUSE_S, pause_s * 2))
                continue
            if pause_s != _TICK_S:
                _log.info("the events of Kue are published again")
            pause_s = _TICK_S

    def _fault_of_step(self, *, is_first: bool) -> bool:
        """Take one step; return whether it failed, which is logged the first time."""
        try:
            self.step()
        except TemporaryError as error:
            if is_first:
                fields = {"code": error.code}
                _log.warning("the events of Kue wait: %s", error.detail, extra=fields)
            return True
        except Exception:  # noqa: BLE001 - a thread that ends would stop the events in silence
            if is_first:
                _log.exception("the events of Kue wait: a fault in Slidelane")
            return True
        return False

    def step(self) -> None:
        """Publish what is new, unless another publisher leads. Raise `TemporaryError`."""
        last = self._store.kue_events.lead(self._name, _LEAD_S)
        if last is None:
            self._percents.clear()
            return
        self._store.kue.promote()
        events = self._store.kue_events.after(last)
        jobs = self._store.kue.with_numbers(sorted({event.job for event in events}))
        for event in events:
            self._publish(event, jobs.get(event.job))
            if self._store.kue_events.lead(self._name, _LEAD_S, event.id) is None:
                return
        self._ticks += 1
        if self._ticks % _PROGRESS_EVERY == 0:
            self._publish_progress()

    def _publish(self, event: KueEvent, job: KueJob | None) -> None:
        """Write the job first: a listener reads it as soon as it hears of the event."""
        if job is None:
            self._listeners.remove_job(event.job)
        else:
            self._listeners.write_job(job)
        self._listeners.publish(event.message(job))

    def _publish_progress(self) -> None:
        """Publish the percent of each active job where it is another than the last one."""
        active = [job for job in self._store.kue.active(_MAX_ACTIVE) if job.is_told]
        before = self._percents
        self._percents = {job.number: job.percent for job in active}
        for job in active:
            if job.percent in (0, before.get(job.number)):
                continue
            self._listeners.write_job(job)
            arguments = ["progress", job.percent, job.progress_data]
            message = {"id": job.number, "event": "progress", "args": arguments}
            self._listeners.publish(message)
