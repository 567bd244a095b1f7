"""The one door to Redis: connections, scripts, and what its failures are called."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis import exceptions as failures
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from broker.errors import TemporaryError
from broker.order_store.encryption import RequestEncryption
from broker.order_store.redis_url import RedisUrl
from broker.orders.order import REOPENED, TRANSITIONS
from broker.settings.config import BrokerSettings

_LUA = Path(__file__).parent / "lua"
TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S = 1.5
RETRY_AFTER_S = 5.0
_CONDITIONS = {
    "OOM": "Redis has no memory left and keeps nothing new",
    "READONLY": "this Redis is a replica and takes no writes",
    "MASTERDOWN": "this Redis is a replica that has lost its master",
    "NOREPLICAS": "Redis has too few replicas to keep anything safely",
    "MISCONF": "Redis cannot write to its disk",
    "LOADING": "Redis is still reading its file",
    "BUSY": "Redis is busy with a long script",
    "NOPERM": "Redis' access list forbids a command that is needed (docs/redis.md)",
    "AUTH": "Redis refuses the user or password of broker.redis_url",
}
_BY_CLASS = {
    failures.OutOfMemoryError: "OOM",
    failures.ReadOnlyError: "READONLY",
    failures.MasterDownError: "MASTERDOWN",
    failures.BusyLoadingError: "LOADING",
    failures.NoPermissionError: "NOPERM",
    failures.AuthenticationError: "AUTH",
}
# Redis 6.2 hides a condition that a script met inside a sentence: "Error running script …: -OOM command not allowed …"
_CODE = re.compile(rf"(?:^|-)({'|'.join(_CONDITIONS)}) ")


@cache
def _script(name: str) -> str:
    life = (_LUA / "life.lua").read_text().replace("@TRANSITIONS@", json.dumps(TRANSITIONS))
    life = life.replace("@REOPENED@", json.dumps(REOPENED))
    return life + (_LUA / f"{name}.lua").read_text()


def _client(address: RedisUrl, database: int) -> Any:
    options: dict[str, Any] = address.login | {
        "db": database,
        "decode_responses": True,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        # every script answers a repeated call like the first one, so one repetition over a fresh connection is safe
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
    }
    if address.service:
        sentinel = Sentinel(address.hosts, sentinel_kwargs=address.sentinel_options)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.service, **options)  # type: ignore[no-untyped-call]
    ((host, port),) = address.hosts
    return redis.Redis(host, port, **options)


def _condition(error: Exception) -> str | None:
    """The state of the server that an error tells of; None where the error is the caller's own."""
    found = _CODE.search(str(error))
    code = _BY_CLASS.get(type(error)) or (found[1] if found else None)
    return _CONDITIONS[code] if code else None


@contextmanager
def reachable() -> Iterator[None]:
    """Redis' failures as the error that everybody handles. A command that is itself wrong stays what it is: a bug."""
    try:
        yield
    except failures.ResponseError as error:
        if told := _condition(error):
            raise _unreachable(told) from None
        raise
    except (failures.ConnectionError, failures.TimeoutError, failures.InvalidResponse) as error:
        raise _unreachable(
            _condition(error) or f"Redis does not answer ({type(error).__name__})"
        ) from None


def _unreachable(detail: str) -> TemporaryError:
    hint = "the outcome is unknown; repeat with the same Idempotency-Key"
    return TemporaryError("store_unreachable", detail, hint=hint, retry_after_s=RETRY_AFTER_S)


class RedisClient:
    """Connections to the two databases of one Redis, made when first used."""

    def __init__(self, address: RedisUrl) -> None:
        self._hints, self.records = (
            _client(address, address.database),
            _client(address, address.database + 1),
        )
        self._scripts = {
            path.stem: self.records.register_script(_script(path.stem))
            for path in _LUA.glob("*.lua")
        }

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


class StoreBase:
    """What every part of the store stands on."""

    def __init__(self, door: RedisClient, settings: BrokerSettings) -> None:
        self._door, self._settings, self._seal = (
            door,
            settings,
            RequestEncryption(settings.secret_key),
        )

    def _now_ms(self) -> float:
        seconds, microseconds = self._door.records.time()
        return float(seconds * 1000 + microseconds / 1000)
