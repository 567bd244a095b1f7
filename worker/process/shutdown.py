"""How a worker ends: its parent process decides, and gives back what still runs."""

import logging
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final

from billiard import active_children, semaphore_tracker
from celery import Celery, bootsteps, signals
from celery.apps.worker import install_worker_term_handler
from celery.worker import state

from worker.process.heartbeat import Heartbeat
from worker.stop_signals import LEAVE_SIGNAL, STOP_SIGNALS, stop_signals_blocked

_STOP_WORK_S: Final = 3.0
"""How long the child, or the threads of a courier, may take after the grace to stop their work."""
_LEAVE_S: Final = 3.0
"""How long the parent may take after that to give the work back and to end."""
_POLL_S: Final = 0.5
_log = logging.getLogger(__name__)


class Shutdown:
    """The end of the worker in this process, from the first signal to the exit status.

    Running work may end by itself within the grace and is then given back. The process ends at most
    `_STOP_WORK_S + _LEAVE_S` after its grace, also while Redis does not answer.

    SIGTERM, SIGINT and SIGHUP begin it. A second SIGINT, or SIGQUIT, ends the grace.
    """

    def __init__(
        self,
        numbers: Sequence[signal.Signals],
        heartbeat: Heartbeat,
        grace_s: float,
        stopped: Event,
        leaving: Event,
    ) -> None:
        """Set `stopped` when the first of the signals comes, `leaving` when the grace is over."""
        self._numbers = numbers
        self._heartbeat = heartbeat
        self._grace_s = grace_s
        self._stopped = stopped
        self._leaving = leaving
        self._interrupts = 0
        self._grace_is_over = Event()
        self._thread = Thread(target=self._run, name="shutdown", daemon=True)
        self._worker: Any = None

    def connect(self, app: Celery) -> None:
        """Handle the signals as soon as Celery runs."""
        shutdown = self

        class HandleStopSignals(bootsteps.StartStopStep):
            """Starts after Celery has installed its own handlers."""

            def start(self, worker: Any) -> None:
                shutdown.handle_signals(worker)

        app.steps["worker"].add(HandleStopSignals)
        signals.worker_init.connect(self._remember_worker, weak=False)
        signals.worker_shutting_down.connect(self._begin, weak=False)

    def handle_signals(self, worker: Any) -> None:
        """Begin the same warm shutdown for every signal; Celery restarts a worker on SIGHUP."""
        for number in STOP_SIGNALS:
            if number in self._numbers:
                install_worker_term_handler(worker, sig=number.name, verbose=False)
            else:
                signal.signal(number, signal.SIG_IGN)

    def end(self) -> int:
        """End the children that are left; return the exit status of this process.

        It is 0 for a worker that was asked to stop, and Celery's for one that ended by itself.
        """
        # billiard would wait for them at exit.
        _signal_children(signal.SIGKILL)
        if self._stopped.is_set() or self._worker is None:
            return os.EX_OK
        return int(self._worker.exitcode or os.EX_OK)

    def _remember_worker(self, sender: Any, **_: object) -> None:
        self._worker = sender

    def _begin(self, sig: str, **_: object) -> None:
        """Begin, or end the grace. Called in a signal handler, so nothing is logged here."""
        if sig == "SIGINT":
            self._interrupts += 1
        if sig == "SIGQUIT" or self._interrupts > 1:
            self._grace_is_over.set()
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.start()

    def _run(self) -> None:
        """Give the work back after the grace, and end this process if Celery does not.

        Celery waits for its child, for the threads of a courier, and for Redis. What may wait here,
        too, has threads of its own.
        """
        message = "asked to stop; running work has %g s"
        Thread(target=_log.info, args=(message, self._grace_s), daemon=True).start()
        self._wait_for_work()
        self._leaving.set()
        _signal_children(LEAVE_SIGNAL)
        time.sleep(_STOP_WORK_S)
        Thread(target=self._give_back, name="give-back", daemon=True).start()
        time.sleep(_LEAVE_S)
        os._exit(os.EX_OK)

    def _give_back(self) -> None:
        for child in active_children():
            # Celery must not take this for a crash, which would count as an attempt.
            self._worker.pool.terminate_job(child.pid, signal.SIGKILL)
        self._heartbeat.leave()

    def _wait_for_work(self) -> None:
        """Return when nothing runs any more, at the latest when the grace is over."""
        ends_at = time.monotonic() + self._grace_s
        while time.monotonic() < ends_at and not self._grace_is_over.wait(_POLL_S):
            if not state.reserved_requests:  # those that run are among them
                return


def start_semaphore_tracker() -> None:
    """Start billiard's helper process now, with signals blocked that would end it too early."""
    with stop_signals_blocked():
        semaphore_tracker.ensure_running()


def _signal_children(number: signal.Signals) -> None:
    for child in active_children():
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)
