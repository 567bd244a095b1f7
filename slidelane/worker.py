"""`slidelane worker`: one worker, which may end by itself: when all is done, or before a batch system ends it.

Owns when it is told to stop; that it then leaves in order is `worker`'s own. Must not know Celery, nor what work is.
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
from broker.order_store import OrderStore
from broker.orders.order import SCAN_ENDED, Order, OrderState
from broker.settings.config import Config, ConfigError, load
from slidelane.process import signal_group, start_module

_log = logging.getLogger("slidelane")
_QUIET_S = 5.0
_POLL_S = 0.5
_HAND_BACK_S = 10.0
"""What a worker may take, after its grace, to hand back what it has and to end."""
_UNFINISHED = {
    "gpu": (OrderState.RUNNING, OrderState.QUEUED),
    "courier": (OrderState.RUNNING, OrderState.QUEUED, OrderState.DELIVERING),
}
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SPAN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def add_to(commands: Any) -> None:
    """The subcommand."""
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
        type=_span_s,
        metavar="TIME",
        help="be gone after 2h, 90m, 3600 or 1:30:00",
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    """Its exit status: 0 where it left in order, asked by us or by a signal. Raises `ConfigError`."""
    config = load()
    if not asked.until_idle and asked.for_s is None:
        os.execv(sys.executable, [sys.executable, "-m", "worker", asked.role])  # noqa: S606 - there is none to start
    set_up(config.broker.log)
    return Shift(config, asked.role, asked.for_s, until_idle=asked.until_idle).run()


class Shift:
    """One worker from its start to its end."""

    def __init__(self, config: Config, role: str, for_s: float | None, *, until_idle: bool) -> None:
        began, self._leaves_s = time.monotonic(), config.worker.grace_s + _HAND_BACK_S
        if for_s is not None and for_s <= self._leaves_s:
            raise ConfigError(
                f"--for {for_s:g} s leaves no time to work: worker.grace_s, and {_HAND_BACK_S:g} s to hand work back, "
                f"are {self._leaves_s:g} s; give it longer, or lower worker.grace_s"
            )
        self._role, self._queues = role, frozenset(config.worker.queues)
        self._stop_at = inf if for_s is None else began + for_s - self._leaves_s
        self._until_idle, self._idle_since, self._is_asked = until_idle, inf, False
        self._store = OrderStore.connect(config.broker)

    def run(self) -> int:
        """Block until the worker has ended."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)
        process = start_module("worker", self._role)
        try:
            while process.poll() is None:
                if why := self._why_stop(process.pid):
                    return self._stopped(process, why)
                time.sleep(_POLL_S)
            return _status(process.returncode)
        finally:
            signal_group(process.pid, signal.SIGKILL)
            process.wait()

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._is_asked = True

    def _why_stop(self, worker: int) -> str:
        now = time.monotonic()
        if self._is_asked:
            return "it was asked to"
        if now >= self._stop_at:
            return "its time is nearly over"
        if self._until_idle:
            self._idle_since = min(self._idle_since, now) if self._is_idle(worker) else inf
        return "nothing is left to do" if now - self._idle_since >= _QUIET_S else ""

    def _stopped(self, process: subprocess.Popen[bytes], why: str) -> int:
        _log.info("the worker is stopped: %s", why)
        process.terminate()
        try:
            status = process.wait(self._leaves_s)
        except subprocess.TimeoutExpired:
            _log.error(
                "the worker did not leave in time and is killed; its leases bring its work back"
            )
            return 1
        return (
            0 if status == -signal.SIGTERM else _status(status)
        )  # told before it could listen: it had no work yet

    def _is_idle(self, worker: int) -> bool:
        """Whether it is there, and no order will need it any more. Who cannot know says no."""
        name = f"{self._role}-{worker}@{os.uname().nodename}"
        try:
            is_there = any(there.name == name for there in self._store.workers())
            return is_there and not any(self._is_needed(order) for order in self._unfinished())
        except TemporaryError:
            return False

    def _is_needed(self, order: Order) -> bool:
        """A courier until an order has ended; a worker until its scans on our queues have, fetched or not."""
        if self._role == "courier":
            return True
        return order.queue in self._queues and any(
            scan.state not in SCAN_ENDED for scan in order.scans
        )

    def _unfinished(self) -> Iterator[Order]:
        for state in _UNFINISHED[self._role]:
            page = self._store.find(state=state)
            yield from page.orders
            while page.cursor is not None:
                page = self._store.find(state=state, cursor=page.cursor)
                yield from page.orders


def _status(status: int) -> int:
    """As a shell tells it: 128 and the signal where one ended it."""
    return status if status >= 0 else 128 - status


def _span_s(text: str) -> float:
    """Seconds of `2h`, `1h30m`, `90m`, `3600`, or as batch systems write it: `1:30:00`, `2-00:00:00`, `90:00`."""
    if (found := _SPAN.fullmatch(text)) and any(found.groups()):
        return float(
            sum(int(n) * size for n, size in zip(found.groups("0"), _UNITS_S.values(), strict=True))
        )
    if found := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(n) for n in found.groups("0"))
        return float(86400 * days + 3600 * hours + 60 * minutes + seconds)
    raise argparse.ArgumentTypeError(f"{text[:32]!r} is no time; write 2h, 90m, 3600 or 1:30:00")
