"""What only a trial shows, and needs no bench: settings arrive from the environment, and no process outlives its limit.

Owns these trials. Must not know Redis nor the bench.
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
_SHOW = "from broker.settings.config import load; print(load().broker.attempts)"
_ATTEMPTS = "7"
_LIMIT_S = 60.0
_HANGS_S = 2.0
_GONE_S = 10.0
_FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which a child inherits
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(600)
"""


def rows() -> Iterator[Row]:
    """A row for each trial."""
    yield _environment()
    yield _time_limit()


def _environment() -> Row:
    given = sorted(name for name in os.environ if name.startswith(PREFIX))
    arrived = "".join(
        lines_of([sys.executable, "-c", _SHOW], _LIMIT_S, {_VARIABLE: _ATTEMPTS})
    ).strip()
    said = f"{_VARIABLE}={_ATTEMPTS} arrived as {arrived or 'nothing'}; set here: {', '.join(given) or 'none'}"
    return Row("environment", "ok" if arrived == _ATTEMPTS else "failed", said)


def _time_limit() -> Row:
    """A child that hears no SIGTERM and has a child like it is ended by its time limit, and both are gone."""
    family: list[int] = []
    with suppress(TimeoutError):
        for line in lines_of([sys.executable, "-c", _FAMILY], _HANGS_S):
            family += map(int, line.split())
    if len(family) != 2:
        return Row(
            "time limit",
            "failed",
            f"a child was to start a child within {_HANGS_S:g} s, and did not",
        )
    left = _left(family)
    what = f"process {family[0]} and its child {family[1]}, deaf to SIGTERM, were killed after {_HANGS_S:g} s"
    if not left:
        return Row("time limit", "ok", f"{what}, and both are gone")
    if all(state == "Z" for state in left.values()):
        why = "process 1 of this container reaps nobody: start it with an init (docker run --init)"
        return Row("time limit", "failed", f"{what}, but {_listed(left)} stay as zombies; {why}")
    return Row("time limit", "failed", f"{what}, but {_listed(left)} still run")


def _left(family: list[int]) -> dict[int, str]:
    """Who is still there after a while, by state as /proc says it."""
    deadline = time.monotonic() + _GONE_S
    while (left := _states(family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _states(family: list[int]) -> dict[int, str]:
    found = {}
    for process_id in family:
        with suppress(OSError, IndexError):
            if sys.platform == "linux":
                found[process_id] = (
                    Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
                )
            else:
                os.kill(process_id, 0)
                found[process_id] = "R"
    return found


def _listed(left: dict[int, str]) -> str:
    return " and ".join(map(str, left))
