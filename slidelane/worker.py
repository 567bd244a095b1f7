"""`slidelane worker`: one worker, which may end when all is done or before a batch system ends it.

This module decides when the worker gets SIGTERM; what the worker does then is decided in `worker`.
"""

import argparse
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from math import inf
from types import FrameType
from typing import Any

from broker.errors import TemporaryError
from broker.log import set_up
from broker.order_store import OrderStore, WorkerView
from broker.orders.order import SCAN_ENDED, Order, OrderState
from broker.queue.names import worker_name
from broker.settings.config import Config, ConfigError, load
from slidelane.process import handle_stop_signals, signal_group, start_module

_log = logging.getLogger("slidelane")
_IDLE_S = 5.0
_POLL_S = 0.5
_HAND_BACK_S = 10.0
"""How long a worker may take, after its grace, to hand its work back and to end."""
_UNFINISHED = {
    "gpu": (OrderState.RUNNING, OrderState.QUEUED),
    "courier": (OrderState.RUNNING, OrderState.QUEUED, OrderState.DELIVERING),
}
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WITH_UNITS = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("worker", help="one worker on this machine; it may end by itself")
    parser.add_argument(
        "role",
        nargs="?",
        choices=("gpu", "courier"),
        default="gpu",
        help="gpu (default) classifies",
    )
    parser.add_argument(
        "--until-idle", action="store_true", help="end when there is nothing left that it could do"
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=duration_s,
        metavar="TIME",
        help="be gone after 2h, 90m, 3600 or 1:30:00",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 where the worker ended in order, by itself or by a signal. Raise `ConfigError`."""
    config = load()
    role = arguments.role
    if not arguments.until_idle and arguments.for_s is None:
        # Nothing has to be decided, so the worker takes the place of this process.
        os.execv(sys.executable, [sys.executable, "-m", "worker", role])  # noqa: S606 - no shell
    set_up(config.broker.log)
    return SupervisedWorker(config, role, arguments.for_s, until_idle=arguments.until_idle).run()


class SupervisedWorker:
    """One worker process that is stopped after a time, or when it has nothing left to do."""

    def __init__(self, config: Config, role: str, for_s: float | None, *, until_idle: bool) -> None:
        self._stop_s = config.worker.grace_s + _HAND_BACK_S
        self._stop_at = inf
        if for_s is not None:
            self._stop_at = time.monotonic() + for_s - self._stop_s
            self._check_time(for_s)
        self._role = role
        self._queues = frozenset(config.worker.queues)
        self._until_idle = until_idle
        self._idle_since = inf
        self._is_signalled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._store = OrderStore.connect(config.broker)

    def _check_time(self, for_s: float) -> None:
        if for_s <= self._stop_s:
            raise ConfigError(
                f"--for {for_s:g} s leaves no time to work: worker.grace_s, and {_HAND_BACK_S:g} s "
                f"to hand work back, are {self._stop_s:g} s; "
                "give it longer, or lower worker.grace_s"
            )

    def run(self) -> int:
        """Block until the worker has ended; return its exit status."""
        handle_stop_signals(self._on_signal)
        process = start_module("worker", self._role)
        self._process = process
        try:
            while process.poll() is None:
                reason = self._stop_reason(process.pid)
                if reason:
                    return self._stop(process, reason)
                time.sleep(_POLL_S)
            return _shell_status(process.returncode)
        finally:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._is_signalled = True
        # At once: the main thread may be waiting for a Redis that does not answer.
        if self._process:
            self._process.terminate()

    def _stop_reason(self, pid: int) -> str:
        """Return why the worker is to stop now, or an empty string."""
        now = time.monotonic()
        if self._is_signalled:
            return "it was asked to"
        if now >= self._stop_at:
            return "its time is nearly over"
        if not self._until_idle:
            return ""
        if not self._is_idle(pid):
            self._idle_since = inf
            return ""
        self._idle_since = min(self._idle_since, now)
        if now - self._idle_since >= _IDLE_S:
            return "nothing is left to do"
        return ""

    def _stop(self, process: subprocess.Popen[bytes], reason: str) -> int:
        """Send SIGTERM and return the exit status; 1 where the worker had to be killed."""
        _log.info("the worker is stopped: %s", reason)
        process.terminate()
        try:
            status = process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            _log.error(
                "the worker did not leave in time and is killed; "
                "its work is claimed again when its lease ends"
            )
            return 1
        if status == -signal.SIGTERM:
            # It had not yet installed its signal handler, and so had no work.
            return 0
        return _shell_status(status)

    def _is_idle(self, pid: int) -> bool:
        """Return whether the worker is present and no order will need it any more.

        It is not idle while Redis does not answer.
        """
        name = worker_name(self._role, pid)
        try:
            workers = {worker.name: worker for worker in self._store.workers()}
            if name not in workers:
                return False
            own = workers[name]
            return not any(self._needs_worker(order, own) for order in self._unfinished())
        except TemporaryError:
            return False

    def _needs_worker(self, order: Order, own: WorkerView) -> bool:
        """Return whether the order needs this worker.

        A courier is needed until the order has ended. A worker that classifies is needed until
        the scans on its queues have ended, also while they wait to be fetched, but not for an
        algorithm that it cannot run.
        """
        if self._role == "courier":
            return True
        if order.queue not in self._queues:
            return False
        if order.request.algorithm in own.unavailable:
            return False
        return any(scan.state not in SCAN_ENDED for scan in order.scans)

    def _unfinished(self) -> Iterator[Order]:
        for state in _UNFINISHED[self._role]:
            page = self._store.find(state=state)
            yield from page.orders
            while page.cursor is not None:
                page = self._store.find(state=state, cursor=page.cursor)
                yield from page.orders


def _shell_status(returncode: int) -> int:
    """Return the status that a shell would show: 128 plus the number of a signal that ended it."""
    if returncode < 0:
        return 128 - returncode
    return returncode


def duration_s(text: str) -> float:
    """Return seconds. Raise `argparse.ArgumentTypeError`.

    People write `2h`, `1h30m`, `90m` or `3600`, batch systems `1:30:00`, `2-00:00:00` or `90:00`.
    """
    match = _WITH_UNITS.fullmatch(text)
    if match and any(match.groups()):
        counts = map(int, match.groups("0"))
        total_s = sum(
            count * unit_s for count, unit_s in zip(counts, _UNITS_S.values(), strict=True)
        )
        return float(total_s)
    match = _CLOCK.fullmatch(text)
    if match:
        days, hours, minutes, seconds = map(int, match.groups("0"))
        return float(86400 * days + 3600 * hours + 60 * minutes + seconds)
    raise argparse.ArgumentTypeError(f"{text[:32]!r} is no time; write 2h, 90m, 3600 or 1:30:00")
