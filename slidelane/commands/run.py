"""`slidelane run`: one image in, the files of its result out; no Redis, no queue, no network."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from broker.orders.request import ScanRequest
from broker.orders.result_files import FINDINGS, MEDIA_TYPES, OVERLAY, RESULTS_JSON
from broker.orders.source import PathSource
from broker.settings.config import Config, load
from slidelane.commands.progress_display import ProgressDisplay, printable
from slidelane.commands.region import HELP, region
from slidelane.commands.values import add_value_option
from slidelane.commands.worker_process import CommandError, events_of, stop_on_signals

USAGE_STATUS: Final = 2
INTERRUPTED_STATUS: Final = 130
_DEFAULT_ALGORITHM: Final = "ki67"
DEV_PICTURE: Final = "result.png"
"""The overlay under the name that images for Techcyte's older ECS provider wrote with DEV=1."""
REQUEST_CODES: Final = ("algorithm_unknown", "parameters_invalid", "request_invalid")
"""Problems that an order would be refused for, before any work."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "run", help="run an algorithm on one image of this machine; needs neither Redis nor network"
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="a slide or picture")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where the files of the result go"
    )
    parser.add_argument(
        "--algorithm",
        metavar="A",
        help="a name in worker.algorithms, a folder with a model, or FILE.py:NAME; "
        f"default {_DEFAULT_ALGORITHM}",
    )
    parser.add_argument("--roi", type=region, help=HELP)
    parser.add_argument(
        "--mpp", type=float, help="microns per pixel, used where the image does not say"
    )
    parser.add_argument("--stain", help="the stain, compared with that of the algorithm")
    add_value_option(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 with a result, 1 where the scan failed, 2 for a wrong request.

    Raise `ConfigError` for settings that cannot work.
    """
    config = load()
    stop_on_signals()
    try:
        request = _request(arguments, config)
        with output_folder(arguments.out) as scratch:
            return _follow(request, scratch, arguments)
    except CommandError as error:
        print(f"slidelane run: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("slidelane run: stopped; nothing was written", file=sys.stderr)
        return INTERRUPTED_STATUS


def _request(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    """Return the request for the worker's process. End with status 2 for a wrong one."""
    algorithm = arguments.algorithm or default_algorithm(config)
    try:
        scan = ScanRequest(
            id="1",
            source=PathSource(type="path", path=str(arguments.image.absolute())),
            roi=arguments.roi,
            mpp=arguments.mpp,
            stain=arguments.stain,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        print(f"slidelane run: {first['loc'][0]}: {first['msg']}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    return {
        "algorithm": algorithm,
        "scan": scan.model_dump(mode="json"),
        "parameters": arguments.parameters,
    }


def default_algorithm(config: Config) -> str:
    """Return the algorithm that is meant where none is named."""
    names = list(config.worker.algorithms)
    if _DEFAULT_ALGORITHM not in names and len(names) == 1:
        return names[0]
    return _DEFAULT_ALGORITHM


@contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Yield a scratch folder within `out`, which is made; remove what was made for nothing."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".slidelane-run-", dir=out) as scratch:
            yield Path(scratch).resolve()
    except OSError as error:
        raise CommandError(f"--out {out}: {error.strerror}; name a folder to write to") from None
    finally:
        for folder in missing:
            # It stays where it holds something.
            with suppress(OSError):
                folder.rmdir()


def _follow(request: dict[str, Any], scratch: Path, arguments: argparse.Namespace) -> int:
    """Show the progress of the worker's process, and then what came of it."""
    last: dict[str, Any] = {}
    whole = request | {"scratch": str(scratch)}
    with ProgressDisplay(arguments.image.name) as display:
        for event in events_of("worker.commands.run_image", whole, scratch):
            if event["event"] == "progress":
                display.show(event["step"], event["done"], event["total"])
            last = event
    if last["event"] == "failed":
        print_problem("slidelane run", last)
        if last["code"] in REQUEST_CODES:
            return USAGE_STATUS
        return 1
    names = publish(scratch / "result", arguments.out)
    _print_result(last, arguments.out, names)
    return 0


def print_problem(command: str, problem: dict[str, Any]) -> None:
    """Print a problem to stderr: its code, its detail, and what to do."""
    detail = printable(problem["detail"])
    print(f"{command}: {problem['code']}: {detail}", file=sys.stderr)
    if problem.get("hint"):
        print(f"  {printable(problem['hint'])}", file=sys.stderr)


def publish(result: Path, out: Path) -> list[str]:
    """Move the files of the result into `out`, results.json last; return their names.

    Files that an earlier result left there, and this one does not have, are removed.
    """
    if os.environ.get("DEV") == "1":
        shutil.copyfile(result / OVERLAY, result / DEV_PICTURE)
    made = [path.relative_to(result) for path in sorted(result.rglob("*")) if path.is_file()]
    names = [str(name) for name in made if name.parts[0] != FINDINGS]
    for name in (*MEDIA_TYPES, DEV_PICTURE):
        if name not in names:
            (out / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: name == RESULTS_JSON):
        (out / name).parent.mkdir(exist_ok=True)
        (result / name).replace(out / name)
    return names


def _print_result(done: dict[str, Any], out: Path, names: list[str]) -> None:
    for warning in done["warnings"]:
        print(f"warning {warning['code']}: {printable(warning['detail'])}", file=sys.stderr)
    print(printable(done["headline"]))
    for name in names:
        print(f"  {out / name}")
