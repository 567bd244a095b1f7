"""Tries out that settings of the environment arrive, and that a time limit ends processes.

This is the part of `slidelane doctor --in-container` that needs no library of a worker.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from broker.diagnostics import Row
from broker.settings.config import PREFIX
from slidelane.process import lines_of

_VARIABLE = f"{PREFIX}BROKER__ATTEMPTS"
_ATTEMPTS = "7"
_PRINT_ATTEMPTS = "from broker.settings.config import load; print(load().broker.attempts)"
_PRINT_LIMIT_S = 60.0
_TRIAL_LIMIT_S = 2.0
_CLEAN_UP_S = 10.0
# A child inherits that SIGTERM is ignored.
_CHILD_AND_GRANDCHILD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""


def run_checks() -> Iterator[Row]:
    """Yield a row for each trial."""
    yield _environment()
    yield _time_limit()


def _environment() -> Row:
    """Check that a setting in the environment reaches a process that loads the settings."""
    names = sorted(name for name in os.environ if name.startswith(PREFIX))
    command = [sys.executable, "-c", _PRINT_ATTEMPTS]
    lines = lines_of(command, _PRINT_LIMIT_S, {_VARIABLE: _ATTEMPTS})
    arrived = "".join(lines).strip()
    listed = ", ".join(names) or "none"
    text = f"{_VARIABLE}={_ATTEMPTS} arrived as {arrived or 'nothing'}; set here: {listed}"
    if arrived != _ATTEMPTS:
        return Row("environment", "failed", text)
    return Row("environment", "ok", text)


def _time_limit() -> Row:
    """Check that a time limit ends a process and its child which both ignore SIGTERM."""
    what = "time limit"
    pids: list[int] = []
    with suppress(TimeoutError):
        for line in lines_of([sys.executable, "-c", _CHILD_AND_GRANDCHILD], _TRIAL_LIMIT_S):
            pids += map(int, line.split())
    if len(pids) != 2:
        text = f"a child was to start a child within {_TRIAL_LIMIT_S:g} s, and did not"
        return Row(what, "failed", text)
    states = _remaining(pids)
    trial = (
        f"process {pids[0]} and its child {pids[1]}, ignoring SIGTERM, "
        f"were killed after {_TRIAL_LIMIT_S:g} s"
    )
    if not states:
        return Row(what, "ok", f"{trial}, and both are gone")
    listed = " and ".join(map(str, states))
    if any(state != "Z" for state in states.values()):
        return Row(what, "failed", f"{trial}, but {listed} still run")
    reason = "process 1 of this container reaps nobody: start it with an init (docker run --init)"
    return Row(what, "failed", f"{trial}, but {listed} stay as zombies; {reason}")


def _remaining(pids: list[int]) -> dict[int, str]:
    """Return the processes that are still there after some seconds, with their states."""
    deadline = time.monotonic() + _CLEAN_UP_S
    states = _states(pids)
    while states and time.monotonic() < deadline:
        time.sleep(0.05)
        states = _states(pids)
    return states


def _states(pids: list[int]) -> dict[int, str]:
    """Return the states of the processes that exist, in the letters of /proc."""
    states = {}
    for pid in pids:
        with suppress(OSError, IndexError):
            states[pid] = _state(pid)
    return states


def _state(pid: int) -> str:
    """Raise `OSError` or `IndexError` where there is no such process."""
    if sys.platform != "linux":
        os.kill(pid, 0)
        return "R"
    # The name in parentheses may hold spaces.
    fields_after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return fields_after_name.split()[0]
