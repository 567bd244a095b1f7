"""The workers that are alive, their queues, and the algorithms that they announced."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import Order, work_id

ABSENT_AFTER_S = 15
_FORGOTTEN_AFTER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker whose heartbeats come: it consumes these queues."""

    name: str
    queues: tuple[str, ...]
    seen_s_ago: float


@dataclass(frozen=True, slots=True)
class ServerView:
    """The Redis server. `evicts`: whether it throws keys away when its memory is full."""

    name: str
    is_durable: bool
    evicts: bool


@dataclass(frozen=True, slots=True)
class QueueView:
    """How much waits on one queue, for how long, and how much of it workers hold now."""

    name: str
    waiting: int
    running: int
    oldest_wait_s: float
    workers: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a piece of work is not being done yet."""

    queue: str
    ahead: int
    reason: str


class Workers(StoreBase):
    """Heartbeats of workers, the cards of algorithms, and what waits for whom."""

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
            heartbeats = self._heartbeats()
        views = []
        for name, heartbeat in heartbeats.items():
            seen_s_ago = max(0.0, (now_ms - heartbeat["at"]) / 1000)
            views.append(WorkerView(name, tuple(heartbeat["queues"]), seen_s_ago))
        return views

    def ping(self) -> None:
        """Raise `TemporaryError("store_unreachable")` unless Redis answers."""
        with reachable():
            self._client.records.ping()

    def server(self) -> ServerView:
        """Return what the server says about itself.

        Raises `TemporaryError` where it does not answer or its access list forbids the question.
        """
        with reachable():
            info = self._client.records.info()
        version = info.get("valkey_version") or info.get("redis_version", "")
        return ServerView(
            name=f"{info.get('server_name', 'redis')} {version}",
            is_durable=bool(info.get("aof_enabled")),
            evicts=info.get("maxmemory_policy") != "noeviction",
        )

    def queues(self) -> list[QueueView]:
        """Return every queue that work has ever waited on, by name."""
        running = self._client.run_json("running")
        with reachable():
            records = self._client.records
            now_ms = self._now_ms()
            consumed = self._consumed()
            views = []
            for name in sorted(records.smembers(Key.QUEUES)):
                oldest = records.zrange(Key.WAITING + name, 0, 0, withscores=True)
                oldest_wait_s = 0.0
                if oldest:
                    oldest_wait_s = max(0.0, (now_ms - oldest[0][1]) / 1000)
                views.append(
                    QueueView(
                        name=name,
                        waiting=records.zcard(Key.WAITING + name),
                        running=running.get(name, 0),
                        oldest_wait_s=oldest_wait_s,
                        workers=consumed.count(name),
                    )
                )
        return views

    def waits(self, order: Order) -> dict[str, Wait]:
        """Return for each piece of the order's work that waits: its queue, its place, and why."""
        scans = [work_id(order.id, scan.index) for scan in order.scans]
        waiting = self._client.run_json("waits", order.id, *scans)
        if not waiting:
            return {}
        with reachable():
            consumed = self._consumed()
        return {work: _wait(found, consumed) for work, found in waiting.items()}

    def _consumed(self) -> list[str]:
        """Return the queues that the workers consume, once for each worker."""
        queues = []
        for heartbeat in self._heartbeats().values():
            queues.extend(heartbeat["queues"])
        return queues

    def _heartbeats(self) -> dict[str, dict[str, Any]]:
        """Return the last heartbeat of each worker that is alive, by name."""
        records = self._client.records
        names = records.zrange(Key.WORKERS, 0, -1)
        if not names:
            return {}
        texts = records.mget([Key.WORKER + name for name in names])
        heartbeats = {}
        for name, text in zip(names, texts, strict=True):
            if text:
                heartbeats[name] = json.loads(text)
        return heartbeats


def _wait(found: dict[str, Any], consumed: list[str]) -> Wait:
    queue = found["queue"]
    ahead = found["ahead"]
    if found["in_ms"] > 0:
        reason = f"tried again in {found['in_ms'] / 1000:.0f} s"
    elif queue not in consumed:
        reason = f"no worker consumes the queue {queue}"
    elif ahead:
        reason = f"{ahead} ahead of it"
    else:
        reason = "next in its queue"
    return Wait(queue, ahead, reason)
