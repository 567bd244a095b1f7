"""Starts processes in sessions of their own, and ends them with everything that they started."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Event, Timer
from types import FrameType

_PR_SET_PDEATHSIG = 1
_TERMINATE_S = 3.0


def start_module(
    *arguments: str, env: Mapping[str, str] | None = None, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m …` as the leader of a new session, with this environment or our own.

    `stdout`: a file descriptor or `subprocess.DEVNULL`; None is our own.
    """
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=env,
        stdout=stdout,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread holds a lock here
    )


def handle_stop_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    """Call `handler` for SIGINT, SIGTERM and SIGHUP.

    A signal that is ignored when this process starts, as `nohup` has it, stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a process that leads a session, and every process of that session."""
    # ProcessLookupError: all of them have ended.
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def lines_of(
    command: list[str], limit_s: float | None, extra_env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield what a program writes to stdout, line by line, with `extra_env` in its environment.

    After `limit_s` (None: never), or when the caller reads no more, the program gets SIGTERM, and a
    moment later SIGKILL together with everything that it started. Raise `TimeoutError`, or
    `ChildProcessError` with the last line of stderr where the program failed.
    """
    timed_out = Event()
    env = dict(os.environ)
    if extra_env:
        env.update(extra_env)
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread holds a lock here
        )
        timer = Timer(limit_s or 0.0, _end_late, [process, timed_out])
        if limit_s is not None:
            timer.start()
        try:
            yield from process.stdout or ()
            process.wait()
        finally:
            timer.cancel()
            _end(process)
            if process.stdout:
                process.stdout.close()
        stderr.seek(0)
        last_line = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
    if timed_out.is_set():
        raise TimeoutError(f"it was not done after {limit_s or 0:g} s")
    if process.returncode:
        raise ChildProcessError(f"it ended with {process.returncode}: {last_line}")


def _end_late(process: subprocess.Popen[str], timed_out: Event) -> None:
    timed_out.set()
    _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERMINATE_S)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _die_with_parent() -> None:
    """On Linux, let the kernel send SIGTERM to this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
