"""`--set NAME=VALUE` of commands that run an algorithm: its parameters, and settings.

A name that begins with `broker.`, `services.` or `worker.` is a setting; any other is a parameter
of the algorithm.
"""

import argparse
import json
from typing import Any

from broker.settings.config import Config
from slidelane.command_line_settings import setting

_SECTIONS = tuple(f"{section}." for section in Config.model_fields)


def add_value_option(parser: argparse.ArgumentParser) -> None:
    """Add `--set`, which fills `parameters` (name to value) and `settings` of the arguments."""
    parser.set_defaults(parameters={}, settings=[])
    parser.add_argument(
        "--set",
        action=_Value,
        metavar="NAME=VALUE",
        help="a parameter of the algorithm, like threshold=0.5, or a setting, like "
        "worker.device=cpu; repeatable",
    )


class _Value(argparse.Action):
    """Puts one value where it belongs."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Add to the settings or the parameters; end with status 2 for what is neither."""
        try:
            if values.startswith(_SECTIONS):
                namespace.settings = [*namespace.settings, setting(values)]
            else:
                name, value = _parameter(values)
                namespace.parameters = {**namespace.parameters, name: value}
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument {option_string}: {error}")


def _parameter(text: str) -> tuple[str, Any]:
    """Return name and value: JSON where the value is JSON, else the text as it is."""
    name, equals, value = text.partition("=")
    if not equals or not name or len(name) > 64:
        raise argparse.ArgumentTypeError(
            f"{name[:64]!r} is no parameter and no setting; write NAME=VALUE, like threshold=0.5 "
            "or worker.device=cpu"
        )
    try:
        return name, json.loads(value, parse_constant=_no_json)
    except ValueError:
        return name, value


def _no_json(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
