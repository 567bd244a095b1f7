"""The one door to Redis: connections, scripts, and what its failures are called."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import OutOfMemoryError, RedisError
from redis.retry import Retry

from broker.address import Address
from broker.config import BrokerSettings
from broker.errors import TemporaryError
from broker.order import TRANSITIONS
from broker.seal import Seal

_LUA = Path(__file__).parent / "lua"
TIMEOUT_S = 3.0
RETRY_AFTER_S = 5.0


@cache
def _script(name: str) -> str:
    life = (_LUA / "life.lua").read_text().replace("@TRANSITIONS@", json.dumps(TRANSITIONS))
    return life + (_LUA / f"{name}.lua").read_text()


def _client(url: str) -> Any:
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=25,
        # every script answers a repeated call like the first one, so one repetition over a fresh connection is safe
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
    )


@contextmanager
def reachable() -> Iterator[None]:
    """Redis' failures as the error that everybody handles."""
    try:
        yield
    except OutOfMemoryError:
        raise _unreachable("Redis has no memory left and keeps nothing new") from None
    except RedisError as error:
        raise _unreachable(f"Redis does not answer ({type(error).__name__})") from None


def _unreachable(detail: str) -> TemporaryError:
    hint = "the outcome is unknown; repeat with the same Idempotency-Key"
    return TemporaryError("store_unreachable", detail, hint=hint, retry_after_s=RETRY_AFTER_S)


class Door:
    """Connections to the two databases of one Redis, made when first used."""

    def __init__(self, address: Address) -> None:
        self.records, self._hints = _client(address.records_url), _client(address.hints_url)
        self._scripts = {path.stem: self.records.register_script(_script(path.stem)) for path in _LUA.glob("*.lua")}

    def run(self, name: str, *args: object) -> Any:
        """Run one script atomically."""
        with reachable():
            return self._scripts[name](args=[str(arg) for arg in args])

    def ask(self, name: str, *args: object) -> Any:
        """Run one script that answers JSON."""
        return json.loads(self.run(name, *args))

    def lengths(self) -> Mapping[str, int]:
        """Hints that lie on each queue."""
        with reachable():
            queues = sorted(self.records.smembers("sl:queues"))
            pipe = self._hints.pipeline(transaction=False)
            for queue in queues:
                pipe.llen(queue)
            return dict(zip(queues, pipe.execute(), strict=True))

    def durable(self) -> bool:
        """Whether Redis answers and writes an append-only file."""
        with reachable():
            return bool(self.records.config_get("appendonly").get("appendonly") == "yes")

    def shut_down(self) -> None:
        """End the server behind this door, after it has written everything."""
        with reachable():
            self.records.shutdown(nosave=True)


class Records:
    """What every part of the store stands on."""

    def __init__(self, door: Door, settings: BrokerSettings) -> None:
        self._door, self._settings, self._seal = door, settings, Seal(settings.secret_key)

    def _now_ms(self) -> float:
        seconds, microseconds = self._door.records.time()
        return float(seconds * 1000 + microseconds / 1000)
