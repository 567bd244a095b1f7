"""Reading orders: one, several, lists, logs, counts. Changes nothing."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import OrderError
from broker.order_store.decode import order_from
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import Order, OrderState

_LOOKED_AT_MOST, _LOOKED_AT_ONCE = 5000, 500


@dataclass(frozen=True, slots=True)
class Page:
    """Some orders, newest first, and where the next page starts."""

    orders: tuple[Order, ...]
    cursor: str | None


def _index(state: str | None, algorithm: str | None, labels: Mapping[str, str]) -> list[str]:
    named = [f"state:{state}"] if state else []
    named += [f"algorithm:{algorithm}"] if algorithm else []
    named += [f"label:{name}={value}" for name, value in labels.items()]
    return [f"sl:orders:{name}" for name in named] or ["sl:orders"]


class Queries(StoreBase):
    """Reading orders."""

    def get(self, order_id: str) -> Order:
        """One order as it stands. Raises `OrderError("not_found")`."""
        (order,) = self.get_many([order_id])
        if order is None:
            raise OrderError("not_found", f"there is no order {order_id[:64]!r}")
        return order

    def get_many(self, order_ids: Iterable[str]) -> list[Order | None]:
        """Several orders, each one consistent picture; None where there is none."""
        ids = list(order_ids)
        answers = self._door.ask("read", *ids) or []
        return [
            order_from(i, answer, self._seal) if answer else None
            for i, answer in zip(ids, answers, strict=True)
        ]

    def find(
        self,
        *,
        state: str | None = None,
        algorithm: str | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page:
        """Orders that match everything given, newest first. Raises `OrderError` for a cursor that is none of ours.

        A page may be short, even empty, while its cursor still leads on: each call looks at a bounded number of orders.
        """
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 16):
            raise OrderError(
                "request_invalid", f"the cursor {cursor[:32]!r} is none of ours", field="cursor"
            )
        with reachable():
            ids, after = self._matching(_index(state, algorithm, labels or {}), cursor, limit)
        return Page(tuple(order for order in self.get_many(ids) if order), after)

    def _matching(
        self, indexes: list[str], cursor: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        records = self._door.records
        first, *others = sorted(indexes, key=records.zcard)
        found: list[str] = []
        highest: str | float = f"({cursor}" if cursor else "+inf"
        step = _LOOKED_AT_ONCE if others else min(limit, _LOOKED_AT_ONCE)
        for _ in range(_LOOKED_AT_MOST // step):
            chunk = records.zrevrangebyscore(
                first, highest, "-inf", start=0, num=step, withscores=True
            )
            ids = [order_id for order_id, _ in chunk]
            elsewhere = [records.zmscore(other, ids) for other in others if ids]
            for (order_id, number), *scores in zip(chunk, *elsewhere, strict=True):
                if None not in scores:
                    found.append(order_id)
                highest = f"({int(number)}"
                if len(found) == limit:
                    return found, str(int(number))
            if len(chunk) < step:
                return found, None
        return found, str(highest).removeprefix("(")

    def log(self, order_id: str) -> list[dict[str, Any]]:
        """What happened to an order, oldest first: `at` (seconds since 1970) and `text`."""
        with reachable():
            return [
                json.loads(line) for line in self._door.records.lrange(f"sl:log:{order_id}", 0, -1)
            ]

    def counts(self) -> dict[str, int]:
        """How many orders are in each state."""
        with reachable():
            pipe = self._door.records.pipeline(transaction=False)
            for state in OrderState:
                pipe.zcard(f"sl:orders:state:{state}")
            return dict(zip([str(state) for state in OrderState], pipe.execute(), strict=True))
