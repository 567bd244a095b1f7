"""The `slidelane` command."""

import argparse
import os
import sys

from broker.config import Config, ConfigError, load
from slidelane.serve import Supervisor


def _serve(config: Config) -> None:
    port = int(os.environ.get("FLOWER_PORT", "5555"))
    print(f"slidelane: API    http://{config.services.host}:{config.services.port}")
    print(f"slidelane: Flower http://127.0.0.1:{port}")
    print(f"slidelane: data   {config.broker.data.resolve()}", flush=True)
    Supervisor(config, port).run()


def _new_key() -> None:
    import hashlib
    import secrets

    key = secrets.token_urlsafe(32)
    print(f"key:    {key}   (shown once; give it to the caller)")
    print(f"sha256: {hashlib.sha256(key.encode()).hexdigest()}   (goes into services.keys)")


def main() -> None:
    """Run one command. Exit 2 when the settings cannot work."""
    parser = argparse.ArgumentParser(prog="slidelane", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="the whole service on this machine, until Ctrl-C")
    commands.add_parser("new-key", help="make an API key and the hash that goes into services.keys")
    command = parser.parse_args().command
    try:
        _new_key() if command == "new-key" else _serve(load())
    except ConfigError as error:
        sys.exit(f"slidelane: {error}")


if __name__ == "__main__":
    main()
