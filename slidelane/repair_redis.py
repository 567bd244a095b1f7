"""`slidelane repair-redis`: cuts a damaged file of the built-in Redis, and keeps a copy."""

import argparse
from typing import Any

from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import ConfigError, load


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "repair-redis", help="cut a damaged file of the built-in Redis, so that it starts again"
    )
    parser.add_argument(
        "--yes", action="store_true", help="do it; without it, only what is damaged is said"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Return 0 where the file is sound now, and 1 where it is damaged. Raise `ConfigError`."""
    settings = load().broker
    if settings.redis_url != "embedded":
        raise ConfigError(
            "broker.redis_url names a Redis of your own; its redis-check-aof or valkey-check-aof "
            "repairs its file (docs/redis.md)"
        )
    with EmbeddedRedis(settings).stopped() as file:
        damage = file.damage()
        if damage is None:
            print("the append-only file is sound; nothing was changed")
            return 0
        print(damage)
        lost_bytes = damage.size_bytes - damage.sound_bytes
        if not arguments.yes:
            print(
                f"`slidelane repair-redis --yes` copies it and cuts off the last {lost_bytes} "
                "bytes: every order and every change that they hold is lost"
            )
            return 1
        try:
            copy = file.cut(damage)
        except OSError as error:
            raise ConfigError(f"no copy could be made ({error.strerror})") from None
    print(f"cut off the last {lost_bytes} bytes; the file as it was is {copy}")
    return 0
