"""The heartbeats of the workers, and the algorithms that they announced."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.algorithm_card import AlgorithmCard

ABSENT_AFTER_S = 15
_FORGOTTEN_AFTER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker whose heartbeats come: it consumes these queues."""

    name: str
    queues: tuple[str, ...]
    seen_s_ago: float


class Workers(StoreBase):
    """The heartbeats of the workers, and the cards of algorithms."""

    def announce(self, cards: Iterable[AlgorithmCard]) -> None:
        """Make these algorithms orderable.

        They stay orderable when their workers leave; orders then wait for a worker.
        """
        with reachable():
            for card in cards:
                self._client.records.hset(Key.CARDS, card.name, card.model_dump_json())

    def cards(self) -> dict[str, AlgorithmCard]:
        """Return the card of every algorithm that a worker has announced, by name."""
        with reachable():
            stored = self._client.records.hgetall(Key.CARDS)
        cards = {}
        for name, text in sorted(stored.items()):
            cards[name] = AlgorithmCard.model_validate_json(text)
        return cards

    def present(self, name: str, queues: Iterable[str]) -> None:
        """Store a heartbeat: this worker consumes these queues for `ABSENT_AFTER_S` from now on."""
        with reachable():
            records = self._client.records
            now_ms = self._now_ms()
            heartbeat = json.dumps({"queues": list(queues), "at": now_ms})
            records.set(Key.WORKER + name, heartbeat, ex=ABSENT_AFTER_S)
            records.zadd(Key.WORKERS, {name: now_ms})
            records.zremrangebyscore(Key.WORKERS, "-inf", now_ms - _FORGOTTEN_AFTER_MS)

    def leave(self, name: str) -> None:
        """Remove a worker that stops."""
        with reachable():
            self._client.records.delete(Key.WORKER + name)
            self._client.records.zrem(Key.WORKERS, name)

    def workers(self) -> list[WorkerView]:
        """Return the workers whose heartbeats come."""
        with reachable():
            now_ms = self._now_ms()
            heartbeats = read_heartbeats(self._client.records)
        views = []
        for name, heartbeat in heartbeats.items():
            seen_s_ago = max(0.0, (now_ms - heartbeat["at"]) / 1000)
            views.append(WorkerView(name, tuple(heartbeat["queues"]), seen_s_ago))
        return views


def read_heartbeats(records: Any) -> dict[str, dict[str, Any]]:
    """Return the last heartbeat of each worker that is alive, by name.

    `records`: the client of the orders' database. Call it in a `reachable` context.
    """
    names = records.zrange(Key.WORKERS, 0, -1)
    if not names:
        return {}
    texts = records.mget([Key.WORKER + name for name in names])
    heartbeats = {}
    for name, text in zip(names, texts, strict=True):
        if text:
            heartbeats[name] = json.loads(text)
    return heartbeats
