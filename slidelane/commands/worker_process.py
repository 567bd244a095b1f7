"""Starts a module of the worker for one command, and passes on the events that it writes."""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slidelane.process import handle_stop_signals, lines_of


class CommandError(Exception):
    """The command cannot be carried out; the message says why, and what to do."""


def events_of(module: str, request: Mapping[str, Any], scratch: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of `python -m MODULE`, which reads the request from a file in `scratch`.

    Where the caller reads no more, the process ends with everything that it started. Raise
    `CommandError` where it cannot be started, and for an end without the event `done` or `failed`.
    """
    if find_spec("worker") is None:
        raise CommandError(
            "the libraries of a worker are not installed here; "
            "run this where a worker runs, or: pip install 'slidelane[worker]'"
        )
    file = scratch / "request.json"
    file.write_text(json.dumps(request))
    has_ended = False
    try:
        for line in lines_of([sys.executable, "-m", module, str(file)], None):
            event = json.loads(line)
            has_ended = event["event"] in ("done", "failed")
            yield event
    except (ChildProcessError, ValueError) as error:
        raise CommandError(f"the process that does the work ended: {error}") from None
    if not has_ended:
        raise CommandError("the process that does the work ended without an answer")


def stop_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise `KeyboardInterrupt`, so that all is cleaned up."""
    handle_stop_signals(_interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
