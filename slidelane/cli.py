"""The `slidelane` command."""

import argparse
import sys

from broker.settings.config import ConfigError, load
from slidelane import doctor, health, worker
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
    for more in (health, doctor, worker):
        more.add_to(commands)
    given = parser.parse_args()
    try:
        if "run" in given:
            sys.exit(given.run(given))
        _new_key() if given.command == "new-key" else Supervisor(load(), flower_port()).run()
    except (ConfigError, health.UnhealthyError) as error:
        sys.exit(f"slidelane: {error}")


if __name__ == "__main__":
    main()
