"""`slidelane algorithm`: makes an algorithm, checks one, and fetches one from somewhere else."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final

from broker.settings.config import load
from slidelane.command_line_settings import add_option
from slidelane.commands.fetch_algorithm import fetch_algorithm
from slidelane.commands.new_algorithm import OUTPUTS, config_text, write_algorithm
from slidelane.commands.progress_display import printable
from slidelane.commands.run import (
    INTERRUPTED_STATUS,
    REQUEST_CODES,
    USAGE_STATUS,
    output_folder,
    print_problem,
)
from slidelane.commands.worker_process import CommandError, events_of, stop_on_signals

_MARKS: Final = {"ok": "ok", "warning": "warning", "failed": "FAILED"}


def add_parser(commands: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = commands.add_parser("algorithm", help="make, check or fetch an algorithm")
    actions = parser.add_subparsers(dest="action", required=True)
    _add_new(actions)
    _add_check(actions)
    _add_fetch(actions)


def _add_new(actions: Any) -> None:
    new = actions.add_parser("new", help="write a folder with an algorithm that works at once")
    new.add_argument("folder", type=Path, metavar="DIR", help="a folder that is new or empty")
    new.add_argument(
        "--kind",
        required=True,
        choices=sorted(OUTPUTS),
        help="weights: a trained network; python: code of your own; command, container: a program "
        "that posts its results as to Techcyte, alone or in an image",
    )
    every_output = sorted({output for outputs in OUTPUTS.values() for output in outputs})
    new.add_argument("--output", choices=every_output, help=_output_help())
    new.set_defaults(run=_new, parser=new)


def _output_help() -> str:
    kinds = [f"{kind}: {', '.join(outputs)}" for kind, outputs in OUTPUTS.items()]
    return f"what it answers ({'; '.join(kinds)}); the first of a kind is its default"


def _add_check(actions: Any) -> None:
    check = actions.add_parser("check", help="load an algorithm, try it out, and say what is wrong")
    check.add_argument(
        "algorithm",
        metavar="ALGORITHM",
        help="a name in worker.algorithms, a folder, or FILE.py:NAME",
    )
    check.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="default: a drawn one")
    check.add_argument(
        "--out",
        type=Path,
        default=Path("check"),
        metavar="DIR",
        help="where check.json and overlay.png go; default ./check",
    )
    add_option(check)
    check.set_defaults(run=_check)


def _add_fetch(actions: Any) -> None:
    fetch = actions.add_parser("fetch", help="bring a model folder, if its SHA-256 is right")
    fetch.add_argument("source", metavar="URL|FOLDER", help="of a zip or tar file, or a folder")
    fetch.add_argument(
        "--sha256",
        required=True,
        type=_sha256,
        metavar="H",
        help="in hex: of the archive, or of the network's file where it is a folder",
    )
    fetch.add_argument(
        "--to", required=True, type=Path, metavar="DIR", help="a folder that is new or empty"
    )
    fetch.set_defaults(run=_fetch)


def _sha256(text: str) -> str:
    """Return the SHA-256. Raise `ArgumentTypeError` for what is none."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a SHA-256 has 64 hexadecimal digits")
    return text


def _fetch(arguments: argparse.Namespace) -> int:
    """Return 0 with a model folder, 1 where there is none."""
    stop_on_signals()
    try:
        description = fetch_algorithm(arguments.source, arguments.sha256, arguments.to)
    except CommandError as error:
        print(f"slidelane algorithm fetch: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    print(f"{arguments.to} holds the model that {description} describes. Try it:")
    print(f"  slidelane algorithm check {arguments.to}")
    return 0


def _new(arguments: argparse.Namespace) -> int:
    """Return 0 with a folder, 1 where it cannot be made, 2 for an output that does not fit."""
    output = arguments.output or OUTPUTS[arguments.kind][0]
    if output not in OUTPUTS[arguments.kind]:
        known = ", ".join(OUTPUTS[arguments.kind])
        arguments.parser.error(f"--output: the kind {arguments.kind} answers {known}")
    stop_on_signals()
    try:
        entry = write_algorithm(arguments.folder, arguments.kind, output)
    except CommandError as error:
        print(f"slidelane algorithm new: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    print(f"{arguments.folder} holds an algorithm that works; its README.md says how to try it.")
    print("For config.json:")
    print(config_text(entry))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Return 0 where all is good, 1 where something is wrong, 2 for what is no algorithm.

    Raise `ConfigError` for settings that cannot work.
    """
    load()
    stop_on_signals()
    try:
        return _follow_check(arguments)
    except CommandError as error:
        print(f"slidelane algorithm check: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _follow_check(arguments: argparse.Namespace) -> int:
    image = None
    if arguments.image is not None:
        image = str(arguments.image.absolute())
    last: dict[str, Any] = {}
    with output_folder(arguments.out) as scratch:
        request = {"algorithm": arguments.algorithm, "image": image, "scratch": str(scratch)}
        for event in events_of("worker.commands.check_algorithm", request, scratch):
            last = event
            if event["event"] == "step":
                _print_step(event)
        if last["event"] == "done":
            _publish(scratch / "result", arguments.out)
    if last["event"] == "failed":
        print_problem("slidelane algorithm check", last)
        if last["code"] in REQUEST_CODES:
            return USAGE_STATUS
        return 1
    if last["good"]:
        return 0
    return 1


def _print_step(step: dict[str, Any]) -> None:
    """Print what was looked at and how it is, and where code raised."""
    mark = _MARKS[step["state"]]
    print(printable(f"{step['name']:<20} {mark:<8} {step['text']}"), flush=True)
    for line in step.get("lines", ()):
        print(printable(f"{'':<30}{line}"), flush=True)


def _publish(result: Path, out: Path) -> None:
    for name in ("check.json", "overlay.png"):
        made = result / name
        if made.exists():
            made.replace(out / name)
            print(f"  {out / name}")
