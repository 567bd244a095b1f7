"""The signals that ask a worker to stop, in every process of it that does not obey them itself.

Terminals, systemd, supervisord (`stopasgroup`) and `tini -g` send them to every process of a worker
at once. Only its parent process obeys them: see `worker.process.shutdown`.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
LEAVE_SIGNAL: Final = signal.SIGUSR2
"""Sent by the parent to its child, which then gives its work back. SIGUSR1 is billiard's own."""


def exit_on_signals() -> list[signal.Signals]:
    """End with status 0 by the first signal: until Celery runs, there is no work.

    Return the signals that stop this process. The others are ignored, because whoever started it
    wants that, as `nohup` does with SIGHUP.
    """
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, _exit)
    return numbers


def ignore_stop_signals() -> None:
    """Ignore what the parent decides about.

    Programs that this process starts ignore the signals, too, and are ended by SIGKILL.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Block the signals in this thread, and from their first moment on in processes it starts."""
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


def _exit(_number: int, _frame: FrameType | None) -> None:
    os._exit(os.EX_OK)
