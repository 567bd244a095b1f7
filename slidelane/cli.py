"""The `slidelane` command."""

import argparse
import sys

from broker.config import ConfigError, load
from slidelane.health import ROLES, UnhealthyError, check
from slidelane.ports import flower_port
from slidelane.serve import Supervisor


def _new_key() -> None:
    import hashlib
    import secrets

    key = secrets.token_urlsafe(32)
    print(f"key:    {key}   (shown once; give it to the caller)")
    print(f"sha256: {hashlib.sha256(key.encode()).hexdigest()}   (goes into services.keys)")


def main() -> None:
    """Run one command. Settings that cannot work end it with a sentence and status 1."""
    parser = argparse.ArgumentParser(prog="slidelane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="the whole service on this machine, until Ctrl-C")
    commands.add_parser("new-key", help="make an API key and the hash that goes into services.keys")
    health = commands.add_parser("health", help="whether a role does its work on this machine: status 0 or 1")
    health.add_argument("role", choices=ROLES)
    given = parser.parse_args()
    try:
        if given.command == "new-key":
            _new_key()
        elif given.command == "health":
            print(check(given.role, load()))
        else:
            Supervisor(load(), flower_port()).run()
    except (ConfigError, UnhealthyError) as error:
        sys.exit(f"slidelane: {error}")


if __name__ == "__main__":
    main()
