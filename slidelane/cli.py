"""The `slidelane` command."""

import argparse
import hashlib
import secrets
import sys

from broker.settings.config import ConfigError
from slidelane import doctor, health, repair_redis, serve, worker


def main() -> None:
    """Run one command. Exit with a sentence and status 1 where settings cannot work."""
    parser = argparse.ArgumentParser(prog="slidelane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve.add_parser(commands)
    new_key = commands.add_parser(
        "new-key", help="make an API key and the hash that goes into services.keys"
    )
    new_key.set_defaults(run=_new_key)
    for module in (health, doctor, worker, repair_redis):
        module.add_parser(commands)
    arguments = parser.parse_args()
    try:
        status = arguments.run(arguments)
    except (ConfigError, health.UnhealthyError) as error:
        sys.exit(f"slidelane: {error}")
    sys.exit(status)


def _new_key(_arguments: argparse.Namespace) -> int:
    key = secrets.token_urlsafe(32)
    print(f"key:    {key}   (shown once; give it to the caller)")
    print(f"sha256: {hashlib.sha256(key.encode()).hexdigest()}   (goes into services.keys)")
    return 0


if __name__ == "__main__":
    main()
