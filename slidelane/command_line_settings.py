"""`--set KEY=VALUE`: settings on the command line, which go before those of the environment.

They are put into the environment, so that the processes which a command starts have them too.
"""

import argparse
import os
from collections.abc import Iterable

from broker.settings.config import PREFIX, Config


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option `--set` to a command that loads the settings."""
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=VALUE",
        help="a setting, like worker.device=cpu; a list or an object as JSON; repeatable",
    )


def put_into_environment(settings: Iterable[tuple[str, str]]) -> None:
    """Replace what the environment says of these keys, and of the keys within them."""
    for key, value in settings:
        variable = PREFIX + key.upper().replace(".", "__")
        for name in list(os.environ):
            if _is_within(name.upper(), variable):
                del os.environ[name]
        os.environ[variable] = value


def _is_within(name: str, variable: str) -> bool:
    # NAME_FILE would replace the value of NAME.
    return name in (variable, f"{variable}_FILE") or name.startswith(f"{variable}__")


def setting(text: str) -> tuple[str, str]:
    """Return key and value of KEY=VALUE. Raise `argparse.ArgumentTypeError`."""
    key, equals, value = text.partition("=")
    sections = tuple(f"{section}." for section in Config.model_fields)
    if not equals or not key.startswith(sections) or key.endswith("."):
        # The value is not repeated: it may be a secret.
        raise argparse.ArgumentTypeError(
            f"{key[:64]!r} is no setting; write KEY=VALUE, like worker.device=cpu, where KEY "
            f"begins with {', '.join(sections)}"
        )
    return key, value
