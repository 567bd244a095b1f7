"""`python -m worker gpu` classifies; `python -m worker courier` fetches, delivers and runs the timer."""

import argparse
import logging
import os
import time
from threading import Event, Thread

from celery import signals

from broker.config import WorkerSettings
from broker.dispatch import dispatch
from broker.errors import TemporaryError
from broker.queue import app, queue_names
from worker.algorithms import registry
from worker.bench import bench

_SAY_EVERY_S = 5.0
_log = logging.getLogger(__name__)


class Presence:
    """Says that this worker consumes: from its event loop, so that a stuck or cut-off one falls silent."""

    def __init__(self, name: str, queues: list[str]) -> None:
        self._name, self._queues, self._said = name, queues, 0.0

    def beat(self, **_: object) -> None:
        """Heard by the desk while it comes often enough; the first one announces the algorithms."""
        if time.monotonic() - self._said < _SAY_EVERY_S:
            return
        try:
            if not self._said:
                bench().store.announce(registry.cards(bench().config.worker.algorithms).values())
            bench().store.present(self._name, self._queues)
            self._said = time.monotonic()
        except TemporaryError as error:
            _log.warning("could not say that this worker is here: %s", error.detail)

    def leave(self, **_: object) -> None:
        """Say goodbye."""
        try:
            bench().store.leave(self._name)
        except TemporaryError as error:
            _log.warning("could not say goodbye: %s", error.detail)


def _options(role: str, settings: WorkerSettings) -> tuple[list[str], list[str]]:
    if role == "courier":
        queues = [*queue_names("deliver"), *queue_names("fetch")]
        return queues, ["--pool", "threads", "--concurrency", str(settings.courier_threads)]
    return [name for lane in settings.lanes for name in queue_names(lane)], ["--pool", "prefork", "--concurrency", "1"]


def _run_timer() -> None:
    stopped = Event()
    timer = Thread(target=dispatch, args=(bench().store, stopped), name="timer", daemon=True)

    @signals.worker_ready.connect(weak=False)
    def _start(**_: object) -> None:
        timer.start()

    @signals.worker_shutdown.connect(weak=False)
    def _stop(**_: object) -> None:
        stopped.set()


def main() -> None:
    """Run one Celery worker in this process until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("role", choices=("gpu", "courier"))
    role = parser.parse_args().role
    queues, pool = _options(role, bench().config.worker)
    name = f"{role}-{os.getpid()}@{os.uname().nodename}"
    presence = Presence(name, queues)
    signals.heartbeat_sent.connect(presence.beat, weak=False)
    signals.worker_shutdown.connect(presence.leave, weak=False)
    if role == "courier":
        _run_timer()
    app.conf.include = ["worker.tasks"]
    app.worker_main(
        [
            "worker",
            *pool,
            "-Q",
            ",".join(queues),
            "-n",
            name,
            "-E",
            "--without-gossip",
            "--without-mingle",
            "--loglevel",
            "INFO",
        ]
    )


if __name__ == "__main__":
    main()
