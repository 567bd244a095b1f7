"""Processes that end: with the one who started them, whole, and in time.

Owns sessions and signals. Must not know what runs in them.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import Event, Timer

_PR_SET_PDEATHSIG = 1
_ENDS_S = 3.0


def start_module(*arguments: str) -> subprocess.Popen[bytes]:
    """`python -m …` as the leader of a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread holds a lock here
    )


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a process that leads a session, and all that it has started."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:  # all of it has ended
        return


def lines_of(
    command: list[str], limit_s: float, more: Mapping[str, str] | None = None
) -> Iterator[str]:
    """What a program writes to stdout, line by line, with `more` in its environment.

    At `limit_s`, or when nobody reads on, it is told to end, and killed a moment later with all that it started. Raises
    `TimeoutError`, or `ChildProcessError` with its last words where it failed.
    """
    late = Event()
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=words, text=True, start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread holds a lock here
            env={**os.environ, **(more or {})},
        )  # fmt: skip
        timer = Timer(limit_s, _end, [process, late])
        timer.start()
        try:
            yield from process.stdout or ()
            process.wait()
        finally:
            timer.cancel()
            _end_all(process)
            if process.stdout:
                process.stdout.close()
        words.seek(0)
        last = words.read().decode(errors="replace").strip().rpartition("\n")[2]
    if late.is_set():
        raise TimeoutError(f"it was not done after {limit_s:g} s")
    if process.returncode:
        raise ChildProcessError(f"it ended with {process.returncode}: {last}")


def _end(process: subprocess.Popen[str], late: Event) -> None:
    late.set()
    _end_all(process)


def _end_all(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_S)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _die_with_parent() -> None:
    """On Linux a child is told to stop when the one who started it is killed; elsewhere it stays until stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
