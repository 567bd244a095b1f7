"""Names and labels of our containers, by which those that nobody watches any more are found."""

import os
import re
import secrets
import time
from pathlib import Path
from typing import Final

from worker.programs.engines.engine import ImageEngine
from worker.programs.engines.engine_call import EngineError
from worker.programs.interface import ProgramRun

_OWNER: Final = "slidelane.owner"
_ENDS: Final = "slidelane.ends"
_LATE_S: Final = 600.0
_MOST_NAME_CHARS: Final = 60
_START_FIELD: Final = 19
"""Of /proc/PID/stat, counted from behind the name: when the process began, in ticks."""


def container_name(run: ProgramRun) -> str:
    """Return a name that nobody has, and that tells whose scratch folder the container uses."""
    folder = run.scratch.parent.name + "-" + run.scratch.name
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder).strip("-.")[-_MOST_NAME_CHARS:]
    return f"slidelane-{readable}-{secrets.token_hex(4)}"


def labels(run: ProgramRun) -> dict[str, str]:
    """Return the labels of a run: which process watches it, and when it has ended at the latest."""
    return {
        _OWNER: owner_label(os.getpid()),
        _ENDS: str(int(time.time() + run.time_limit_s + _LATE_S)),
    }


def owner_label(process_id: int) -> str:
    """Return what tells a process from all others, also from later ones with the same id."""
    return f"{_machine()}.{process_id}.{_began(process_id)}"


def remove_leftovers(engine: ImageEngine) -> list[str]:
    """Remove the containers of processes that are gone; return their ids.

    Whether a process of another machine or container is gone cannot be seen: its containers go
    when their time is over. Raises EngineError.
    """
    ids = engine.ask("ps", "--all", "--quiet", "--filter", f"label={_OWNER}").split()
    removed = []
    for container in ids:
        template = f'{{{{index .Config.Labels "{_OWNER}"}}}} {{{{index .Config.Labels "{_ENDS}"}}}}'
        try:
            owner, ends = engine.ask("inspect", "--format", template, container).split()
            if _is_gone(owner) or time.time() > float(ends):
                engine.ask("rm", "--force", "--volumes", container)
                removed.append(container)
        except (EngineError, ValueError):
            continue  # it is gone by now, or is none of ours
    return removed


def _is_gone(owner: str) -> bool:
    machine, _, process = owner.partition(".")
    if machine != _machine():
        return False
    process_id = process.partition(".")[0]
    return not process_id.isdecimal() or owner != owner_label(int(process_id))


def _machine() -> str:
    """Return what names this machine since its start, and this container on it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116


def _began(process_id: int) -> str:
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return "gone"
    return text.rpartition(")")[2].split()[_START_FIELD]
