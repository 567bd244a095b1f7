"""Read orders: one, several, lists, logs, counts; and what the Redis server is. Changes nothing."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.errors import OrderError
from broker.order_store.decode import order_from
from broker.order_store.errors import OrderNotFoundError, UnreadableOrderError
from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import (
    MAX_TIME_S,
    Order,
    OrderState,
    ScanState,
    Stage,
    UnreadableOrder,
    parse_work_id,
)

_WAITS_FOR: Mapping[Stage, str] = {
    "fetch": ScanState.QUEUED,
    "classify": ScanState.STAGED,
    "deliver": OrderState.DELIVERING,
}
"""The state in which work can be claimed for a stage."""
_MAX_SCANNED = 5000
_CHUNK = 500
_MAX_REPORTED = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """Some orders, newest first, and the cursor of the next page (None after the last one)."""

    entries: tuple[Order | UnreadableOrder, ...]
    cursor: str | None

    @property
    def orders(self) -> tuple[Order, ...]:
        """Return those that can be read."""
        return tuple(entry for entry in self.entries if isinstance(entry, Order))


@dataclass(frozen=True, slots=True)
class ServerView:
    """The Redis server. `evicts`: whether it throws keys away when its memory is full."""

    name: str
    is_durable: bool
    evicts: bool


AttemptState = Literal["to_come", "begun", "given_back"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a piece of work stands, for a message that found it not to be claimed.

    `state` is that of the scan, or of the order for a delivery. `claimed`: how many attempts at
    the stage were begun so far. `waits`: nobody holds the work, and it is to be claimed.
    """

    order_state: OrderState
    state: str
    claimed: int
    waits: bool

    def of_attempt(self, number: int) -> AttemptState:
        """Return how this attempt stands: not begun, begun, or begun and given back since."""
        if self.claimed < number:
            return "to_come"
        if number < self.claimed or self.waits:
            return "given_back"
        return "begun"


class Queries(StoreBase):
    """Reading orders, and asking the server about itself."""

    def get(self, order_id: str) -> Order:
        """Return one order. Raise `OrderNotFoundError` or `UnreadableOrderError`."""
        (order,) = self.get_many([order_id])
        if order is None:
            raise OrderNotFoundError(order_id)
        if isinstance(order, UnreadableOrder):
            raise UnreadableOrderError(order)
        return order

    def now_s(self) -> float:
        """Return the time by Redis' clock, in seconds since 1970, as records have it."""
        with reachable():
            return self._now_ms() / 1000

    def created_by(self, order_id: str) -> str:
        """Return the name of the API key that an order came with; empty without one.

        Raise `OrderNotFoundError`.
        """
        with reachable():
            state, creator = self._client.records.hmget(Key.ORDER + order_id, "state", "created_by")
        if state is None:
            raise OrderNotFoundError(order_id)
        return str(creator or "")

    def get_many(self, order_ids: Iterable[str]) -> list[Order | UnreadableOrder | None]:
        """Return several orders as of one moment, None where there is no such order."""
        ids = list(order_ids)
        # without ids the script answers an empty object
        replies = self._client.run_json("read", *ids) or []
        orders: list[Order | UnreadableOrder | None] = []
        for order_id, reply in zip(ids, replies, strict=True):
            if not reply:
                orders.append(None)
                continue
            order = order_from(order_id, reply, self._encryption)
            if isinstance(order, UnreadableOrder):
                self._report(order)
            orders.append(order)
        return orders

    def _report(self, order: UnreadableOrder) -> None:
        """Log an unreadable order, the first time that this process meets it."""
        if order.id in self._reported_ids:
            return
        if len(self._reported_ids) >= _MAX_REPORTED:
            self._reported_ids.clear()
        self._reported_ids.add(order.id)
        fields = {"work": order.id, "code": order.problem.code}
        _log.warning("an order is unreadable: %s", order.problem.detail, extra=fields)

    def find(
        self,
        *,
        state: str | None = None,
        algorithm: str | None = None,
        labels: Mapping[str, str] | None = None,
        created_by: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Return a page of the orders that match everything given, newest first.

        A page may be short, even empty, and still have a cursor, because each call reads a
        bounded number of orders. Raise `OrderError` for a cursor that did not come from here.
        """
        if cursor is not None and not _is_cursor(cursor):
            raise OrderError(
                "request_invalid", f"the cursor {cursor[:32]!r} is none of ours", field="cursor"
            )
        with reachable():
            indexes = _indexes(state, algorithm, labels, created_by)
            ids, next_cursor = self._matching(indexes, cursor, limit)
        entries = tuple(order for order in self.get_many(ids) if order)
        return Page(entries, next_cursor)

    def log(self, order_id: str, last: int = 0) -> list[dict[str, Any]]:
        """Return the log of an order, oldest line first: `at` (seconds since 1970) and `text`.

        `last`: only so many of the newest lines; 0 = all that are kept.
        """
        with reachable():
            lines = self._client.records.lrange(Key.LOG + order_id, -last, -1)
        return [_log_line(line) for line in lines]

    def standing(self, work: str, stage: Stage) -> Standing | None:
        """Return how the work stands, or None where there is no such work."""
        order_id, index = parse_work_id(work)
        order_key = Key.ORDER + order_id
        key = order_key
        if index is not None:
            key = Key.SCAN + work
        with reachable():
            order_state = self._client.records.hget(order_key, "state")
            state, claimed, lease_until = self._client.records.hmget(
                key, "state", f"{stage}_attempts", "lease_until"
            )
        if not order_state or not state:
            return None
        waits = state == _WAITS_FOR[stage] and lease_until == "0"
        return Standing(OrderState(order_state), state, int(claimed or 0), waits)

    def counts(self) -> dict[str, int]:
        """Return how many orders are in each state."""
        states = [str(state) for state in OrderState]
        with reachable():
            pipeline = self._client.records.pipeline(transaction=False)
            for state in states:
                pipeline.zcard(Key.ORDERS_BY_STATE + state)
            return dict(zip(states, pipeline.execute(), strict=True))

    def ping(self) -> None:
        """Raise `TemporaryError("store_unreachable")` unless Redis answers."""
        with reachable():
            self._client.records.ping()

    def server(self) -> ServerView:
        """Return what the server says about itself.

        Raise `TemporaryError` where it does not answer or its access list forbids the question.
        """
        with reachable():
            info = self._client.records.info()
        version = info.get("valkey_version") or info.get("redis_version", "")
        return ServerView(
            name=f"{info.get('server_name', 'redis')} {version}",
            is_durable=bool(info.get("aof_enabled")),
            evicts=info.get("maxmemory_policy") != "noeviction",
        )

    def _matching(
        self, indexes: list[str], cursor: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        """Return the ids of orders that are in all indexes, and the next cursor.

        Walk the smallest index from the newest order on and look the ids up in the others.
        """
        records = self._client.records
        smallest, *others = sorted(indexes, key=records.zcard)
        found: list[str] = []
        highest = "+inf"
        if cursor:
            highest = f"({cursor}"
        chunk_size = _CHUNK
        if not others:
            chunk_size = min(limit, _CHUNK)
        for _ in range(_MAX_SCANNED // chunk_size):
            chunk = records.zrevrangebyscore(
                smallest, highest, "-inf", start=0, num=chunk_size, withscores=True
            )
            ids = [order_id for order_id, _ in chunk]
            scores_elsewhere = [records.zmscore(other, ids) for other in others if ids]
            for (order_id, number), *scores in zip(chunk, *scores_elsewhere, strict=True):
                if None not in scores:
                    found.append(order_id)
                highest = f"({int(number)}"
                if len(found) == limit:
                    return found, str(int(number))
            if len(chunk) < chunk_size:
                return found, None
        return found, highest.removeprefix("(")


def _log_line(text: str) -> dict[str, Any]:
    """Return a line of an order's log; one that is damaged says so and has the time 0."""
    try:
        line = json.loads(text)
        if 0 <= line["at"] < MAX_TIME_S and isinstance(line["text"], str):
            return dict(line)
    except (LookupError, TypeError, ValueError, RecursionError):
        pass
    return {"at": 0.0, "text": "this line is damaged"}


def _is_cursor(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def _indexes(
    state: str | None,
    algorithm: str | None,
    labels: Mapping[str, str] | None,
    created_by: str | None,
) -> list[str]:
    """Return the keys of the indexes whose orders match, or that of all orders."""
    keys = []
    if state:
        keys.append(Key.ORDERS_BY_STATE + state)
    if algorithm:
        keys.append(Key.ORDERS_BY_ALGORITHM + algorithm)
    if created_by is not None:
        keys.append(Key.ORDERS_BY_CREATOR + created_by)
    for name, value in (labels or {}).items():
        keys.append(f"{Key.ORDERS_BY_LABEL}{name}={value}")
    return keys or [Key.ORDERS]
