"""The connections to Redis, the Lua scripts, and the translation of Redis' errors.

The only module that imports the client library.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from redis import exceptions as redis_errors
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from broker.errors import CODES, TemporaryError
from broker.order_store.encryption import RequestEncryption
from broker.order_store.keys import PAYLOAD_FIELD, Key, lua_constants
from broker.order_store.redis_url import RedisUrl
from broker.orders.fields import PRIORITIES
from broker.orders.order import REOPENED, TRANSITIONS
from broker.settings.config import BrokerSettings

_LUA = Path(__file__).parent / "lua"
_RULES = (_LUA / "kue_jobs.lua", _LUA / "lifecycle.lua")
"""The texts that are put in front of every script, in this order."""
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
"""States of the server in which every command fails, by the first word of Redis' error."""

_DISK_FULL = os.strerror(errno.ENOSPC)
_CODE_OF_CLASS = {
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.AuthenticationError: "AUTH",
}
# Redis 6.2 puts the code of an error in a script inside a sentence, as in
# "Error running script …: -OOM command not allowed …".
_CODE = re.compile(rf"(?:^|-)({'|'.join(_CONDITIONS)}) ")


class RedisClient:
    """Connections to the two databases of one Redis, opened when first used.

    `records` is the database of the orders. The other one holds Celery's queues of messages.
    """

    def __init__(self, address: RedisUrl) -> None:
        self._celery = _client(address, address.database)
        self.records = _client(address, address.database + 1)
        self._scripts = {}
        for path in _LUA.glob("*.lua"):
            if path not in _RULES:
                self._scripts[path.stem] = self.records.register_script(_script(path.stem))

    def run(self, script: str, *args: object) -> Any:
        """Run one script atomically and return its reply. Raise `TemporaryError`."""
        with reachable():
            return self._scripts[script](args=[str(arg) for arg in args])

    def run_json(self, script: str, *args: object) -> Any:
        """Run one script and return its reply decoded from JSON. Raise `TemporaryError`."""
        return json.loads(self.run(script, *args))

    def queue_lengths(self) -> Mapping[str, int]:
        """Return the number of messages on each of Celery's queues. Raise `TemporaryError`."""
        with reachable():
            queues = sorted(self.records.smembers(Key.QUEUES))
            pipeline = self._celery.pipeline(transaction=False)
            for queue in queues:
                pipeline.llen(queue)
            return dict(zip(queues, pipeline.execute(), strict=True))

    def is_durable(self) -> bool:
        """Return whether Redis writes an append-only file. Raise `TemporaryError`."""
        with reachable():
            return bool(self.records.config_get("appendonly").get("appendonly") == "yes")

    def shut_down(self) -> None:
        """End the server after it has written everything. Raise `TemporaryError`."""
        with reachable():
            self.records.shutdown(nosave=True)


class StoreBase:
    """What each part of the store needs: the client, the settings, the encryption of requests."""

    def __init__(self, client: RedisClient, settings: BrokerSettings) -> None:
        self._client = client
        self._settings = settings
        self._encryption = RequestEncryption(settings)
        self._reported_ids: set[str] = set()

    def _now_ms(self) -> float:
        seconds, microseconds = self._client.records.time()
        return float(seconds * 1000 + microseconds / 1000)


@contextmanager
def reachable() -> Iterator[None]:
    """Raise Redis' failures as `TemporaryError("store_unreachable")`.

    The error of a command that is itself wrong is a bug and stays a `redis.ResponseError`.
    """
    try:
        yield
    except redis_errors.ResponseError as error:
        condition = _condition(error)
        if condition is None:
            raise
        raise _unreachable(condition) from None
    except (
        redis_errors.ConnectionError,
        redis_errors.TimeoutError,
        redis_errors.InvalidResponse,
    ) as error:
        condition = _condition(error)
        if condition is None:
            condition = f"Redis does not answer ({type(error).__name__})"
        raise _unreachable(condition) from None


@cache
def _script(name: str) -> str:
    """Return the whole text of a script: the constants, the rules, then its own file.

    All of it runs with every call, so the constants are literals and no JSON.
    """
    rules, codes_in_rules = _rules()
    own = (_LUA / f"{name}.lua").read_text()
    blame = {
        code: known.blame for code, known in CODES.items() if code in codes_in_rules or code in own
    }
    tables = {
        "TRANSITIONS": TRANSITIONS,
        "REOPENED": REOPENED,
        "PRIORITIES": PRIORITIES,
        "BLAME": blame,
        "CONDITIONS": list(_CONDITIONS),
        "PAYLOAD_FIELD": PAYLOAD_FIELD,
    }
    constants = [f"local {table} = {_lua_literal(value)}\n" for table, value in tables.items()]
    return lua_constants() + "".join(constants) + rules + own


@cache
def _rules() -> tuple[str, frozenset[str]]:
    """Return the texts in front of every script, and the error codes that they name."""
    text = "".join(path.read_text() for path in _RULES)
    return text, frozenset(code for code in CODES if code in text)


def _lua_literal(value: Any) -> str:
    """Return a text, a list or a dict of them as Lua writes it."""
    if isinstance(value, dict):
        fields = [f"[{_lua_literal(name)}] = {_lua_literal(one)}" for name, one in value.items()]
        return "{" + ", ".join(fields) + "}"
    if isinstance(value, str):
        return f"'{value}'"
    return "{" + ", ".join(map(_lua_literal, value)) + "}"


def client_of(address: RedisUrl) -> Any:
    """Return a client of the database that a URL names; it connects when first used."""
    return _client(address, address.database)


def _client(address: RedisUrl, database: int) -> Any:
    options: dict[str, Any] = address.login | {
        "db": database,
        "decode_responses": True,
        # Bytes that are no UTF-8 are in a damaged record, which alone is then unreadable.
        "encoding_errors": "replace",
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        # A script answers a repeated call like the first one, so one retry is safe.
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 1),
    }
    if address.service:
        sentinel_options = address.sentinel_options
        sentinel = Sentinel(address.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.service, **options)  # type: ignore[no-untyped-call]
    ((host, port),) = address.hosts
    return redis.Redis(host, port, **options)


def _condition(error: Exception) -> str | None:
    """Return the state of the server that an error tells of, or None for any other error."""
    code = _CODE_OF_CLASS.get(type(error))
    if code is None:
        found = _CODE.search(str(error))
        if found is None:
            return None
        code = found[1]
    condition = _CONDITIONS[code]
    if _DISK_FULL in str(error):
        return f"{condition}: {_DISK_FULL}"
    return condition


def _unreachable(detail: str) -> TemporaryError:
    hint = "the outcome is unknown; repeat with the same Idempotency-Key"
    return TemporaryError("store_unreachable", detail, hint=hint, retry_after_s=RETRY_AFTER_S)
