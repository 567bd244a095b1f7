"""`slidelane image`: the images of this machine, as a container engine has them.

Nothing that comes over HTTP changes them: this command does, on the machine of a worker.
"""

import argparse
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from broker.settings.config import load
from broker.settings.programs import ENGINES, IMAGE_NAME
from slidelane.command_line_settings import add_option
from slidelane.commands.progress_display import printable
from slidelane.commands.run import INTERRUPTED_STATUS
from slidelane.commands.worker_process import CommandError, events_of, stop_on_signals

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
_DIGEST_CHARACTERS: Final = len("sha256:") + 12


def add_parser(commands: Any) -> None:
    """Add the subcommand with its own subcommands."""
    parser = commands.add_parser("image", help="the images that algorithms of this machine run")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="every image, and whether it is on this machine")
    add = actions.add_parser("add", help="define an image; it is not fetched")
    add.add_argument("words", nargs=1, type=_image, metavar="IMAGE", help="as its engine names it")
    add.add_argument("--name", default="", type=_name, help="what people call it")
    add.add_argument("--engine", default="", choices=ENGINES, help="default: the first that works")
    pull = actions.add_parser("pull", help="have the engine fetch images from their registry")
    pull.add_argument(
        "words", nargs="*", metavar="NAME|IMAGE", help="default: all that are defined or configured"
    )
    remove = actions.add_parser("remove", help="forget the definition of an image")
    remove.add_argument("words", nargs="+", metavar="NAME|IMAGE")
    for action in (listing, add, pull, remove):
        add_option(action)
        action.set_defaults(run=_run)


def _image(text: str) -> str:
    """Return the name of an image. Raise `ArgumentTypeError`."""
    if not IMAGE_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "an image is REPOSITORY:TAG, or the path of a .sif file; it begins with no hyphen"
        )
    return text


def _name(text: str) -> str:
    """Return the name that people call an image by. Raise `ArgumentTypeError`."""
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("a name has 1 to 100 letters, digits, spaces and ._-")
    return text


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 where all went well, 1 where an image could not be brought here.

    Raise `ConfigError` for settings that cannot work.
    """
    load()
    stop_on_signals()
    request = {"action": arguments.action, "words": list(getattr(arguments, "words", ()))}
    request |= {key: getattr(arguments, key, "") for key in ("name", "engine")}
    try:
        with tempfile.TemporaryDirectory(prefix="slidelane-image-") as scratch:
            return _follow(arguments.action, request, Path(scratch))
    except CommandError as error:
        print(f"slidelane image {arguments.action}: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS


def _follow(action: str, request: dict[str, Any], scratch: Path) -> int:
    cards = []
    for event in events_of("worker.commands.images", request, scratch):
        if event["event"] == "failed":
            raise CommandError(event["detail"])
        if event["event"] == "pulling":
            print(f"pulling {printable(event['image'])} …", flush=True)
        if event["event"] == "image":
            cards.append(event)
            if action != "list":
                print(_said(action, event), flush=True)
    if action == "list":
        print(_table(cards))
    is_wrong = action == "pull" and any(card["status"] != "uploaded" for card in cards)
    return int(is_wrong)


def _said(action: str, card: dict[str, Any]) -> str:
    """Return what became of one image in words."""
    name = printable(card["image"])
    if action == "remove":
        said = f"{name} is no longer defined"
        if card["status"] == "uploaded":
            said += f"; {card['engine']} still has it"
        return said
    if card["status"] == "uploaded":
        return f"{name}: uploaded, {card['digest']} ({card['engine']})"
    if card["failure"]:
        return f"{name}: {card['status']}: {printable(card['failure'])}"
    return f"{name}: {card['status']}; bring it here with: slidelane image pull {name}"


def _table(cards: list[dict[str, Any]]) -> str:
    """Return the images as a table, with the reason below one that is not there."""
    if not cards:
        return "no image is defined, and no algorithm names one"
    rows = [["NAME", "STATUS", "IMAGE", "DIGEST", "CREATED BY", "CREATED AT"]]
    reasons = [""]
    for card in sorted(cards, key=lambda one: str(one["name"])):
        digest = card["digest"][:_DIGEST_CHARACTERS] or "-"
        created = _time(card["created_at"])
        fields = (card["name"], card["status"], card["image"], digest, card["created_by"], created)
        rows.append([printable(field) for field in fields])
        reasons.append(printable(card["failure"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, reason in zip(rows, reasons, strict=True):
        lines.append("  ".join(map(str.ljust, row, widths)).rstrip())
        if reason:
            lines.append(f"  {reason}")
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="minutes")
