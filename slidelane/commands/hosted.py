"""`slidelane hosted`: one scan as Techcyte's model hosting starts it; no Redis, no queue.

Everything is given in the environment. The results are posted to Techcyte and printed, and the exit
status is 0 only if Techcyte has them.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from broker.orders.result_files import RESULTS_JSON
from broker.settings.config import load
from slidelane.commands.progress_display import ProgressDisplay, printable
from slidelane.commands.run import (
    INTERRUPTED_STATUS,
    REQUEST_CODES,
    USAGE_STATUS,
    default_algorithm,
    print_problem,
    publish,
)
from slidelane.commands.worker_process import CommandError, events_of, stop_on_signals

_COMMAND: Final = "slidelane hosted"
_POST: Final = "post.json"
_MOST_PRINTED_BYTES: Final = 10 * 10**6
"""A larger body is not printed whole: what keeps the log may cut it."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "hosted",
        help="run the one scan that Techcyte's model hosting states in the environment, and post "
        "its results",
    )
    parser.add_argument(
        "--input",
        type=Path,
        default=Path("/input/image.svs"),
        metavar="IMAGE",
        help="with DEV=1, the image; default /input/image.svs",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("/output"),
        metavar="DIR",
        help="with DEV=1, where result.png and the other files go; default /output",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 where Techcyte has the results, 1 where not, 2 for variables that cannot work.

    Raise `ConfigError` for settings that cannot work.
    """
    config = load()
    stop_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="slidelane-hosted-") as scratch:
            request = {
                "scratch": str(Path(scratch).resolve()),
                "algorithm": default_algorithm(config),
                "dev_image": str(arguments.input.absolute()),
            }
            return _follow(request, Path(scratch), arguments.output)
    except CommandError as error:
        print(f"{_COMMAND}: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_COMMAND}: stopped", file=sys.stderr)
        return INTERRUPTED_STATUS


def _follow(request: dict[str, Any], scratch: Path, out: Path) -> int:
    """Show what the worker's process does, and print the results."""
    last: dict[str, Any] = {}
    with ProgressDisplay("scan") as display:
        for event in events_of("worker.commands.hosted", request, scratch):
            if event["event"] == "progress":
                display.show(event["step"], event["done"], event["total"])
            elif event["event"] == "line":
                print(printable(event["text"]), flush=True)
            last = event
    if last["event"] == "failed":
        _print_what_was_not_posted(scratch)
        print_problem(_COMMAND, last)
        if last["code"] in REQUEST_CODES:
            return USAGE_STATUS
        return 1
    print(f"Results JSON: {_one_line(scratch / 'result' / RESULTS_JSON)}")
    if not last["posted"]:
        _publish(scratch / "result", out)
    return 0


def _print_what_was_not_posted(scratch: Path) -> None:
    """Print the body that Techcyte did not take, so that it is not lost with this machine."""
    post = scratch / _POST
    results = scratch / "result" / RESULTS_JSON
    if post.is_file() and post.stat().st_size <= _MOST_PRINTED_BYTES:
        print(f"Results JSON (not posted): {_one_line(post)}", flush=True)
    elif results.is_file():
        print(f"Results JSON (not posted, without outlines): {_one_line(results)}", flush=True)


def _one_line(file: Path) -> str:
    """Return the JSON of a file on one line."""
    return printable(json.dumps(json.loads(file.read_bytes()), separators=(",", ":")))


def _publish(result: Path, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in publish(result, out):
            print(f"  {out / name}")
    except OSError as error:
        raise CommandError(f"--output {out}: {error.strerror}; mount a folder there") from None
