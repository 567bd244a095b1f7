"""The `slidelane` command."""

import argparse
import hashlib
import secrets
import sys
from importlib.metadata import PackageNotFoundError, version

from broker.settings.config import ConfigError
from slidelane import command_line_settings, doctor, health, repair_redis, serve, worker
from slidelane.commands import algorithm, hosted, image, order, run
from slidelane.import_config import command as import_config

_LOAD_SETTINGS = ("serve", "health", "doctor", "worker")


def main() -> None:
    """Run one command. Exit with a sentence and status 1 where settings cannot work."""
    parser = argparse.ArgumentParser(prog="slidelane", description=__doc__)
    parser.add_argument("--version", action="version", version=f"slidelane {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    serve.add_parser(commands)
    new_key = commands.add_parser(
        "new-key", help="make an API key and the hash that goes into services.keys"
    )
    new_key.set_defaults(run=_new_key)
    for module in (
        health,
        doctor,
        worker,
        repair_redis,
        run,
        hosted,
        order,
        algorithm,
        image,
        import_config,
    ):
        module.add_parser(commands)
    for name in _LOAD_SETTINGS:
        command_line_settings.add_option(commands.choices[name])
    arguments, unknown = parser.parse_known_args()
    if unknown:
        # argparse's own error shows the usage of `slidelane`, which has no options
        words = ("slidelane", arguments.command, getattr(arguments, "action", ""))
        command = " ".join(filter(None, words))
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; `{command} -h` lists them")
    command_line_settings.put_into_environment(getattr(arguments, "settings", ()))
    try:
        status = arguments.run(arguments)
    except (ConfigError, health.UnhealthyError) as error:
        sys.exit(f"slidelane: {error}")
    sys.exit(status)


def _version() -> str:
    try:
        return version("slidelane")
    except PackageNotFoundError:
        return "0 (a checkout that is not installed)"


def _new_key(_arguments: argparse.Namespace) -> int:
    key = secrets.token_urlsafe(32)
    print(f"key:    {key}   (shown once; give it to the caller)")
    print(f"sha256: {hashlib.sha256(key.encode()).hexdigest()}   (goes into services.keys)")
    return 0


if __name__ == "__main__":
    main()
