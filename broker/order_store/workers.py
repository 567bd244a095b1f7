"""Who is there: workers that consume, and the algorithms they announced."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import Order, work_id

ABSENT_AFTER_S = 15
_FORGOTTEN_AFTER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One process that was seen consuming, not merely alive."""

    name: str
    queues: tuple[str, ...]
    seen_s_ago: float


@dataclass(frozen=True, slots=True)
class ServerView:
    """The Redis behind the record. `evicts`: whether it throws keys away when its memory is full."""

    name: str
    is_durable: bool
    evicts: bool


@dataclass(frozen=True, slots=True)
class QueueView:
    """What waits on one queue, since when, and what was taken from it and has not ended."""

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


def _wait(told: dict[str, Any], consumed: set[str]) -> Wait:
    queue, ahead = told["queue"], told["ahead"]
    if told["in_ms"] > 0:
        reason = f"tried again in {told['in_ms'] / 1000:.0f} s"
    elif queue not in consumed:
        reason = f"no worker consumes the queue {queue}"
    else:
        reason = f"{ahead} ahead of it" if ahead else "next in its queue"
    return Wait(queue, ahead, reason)


class Workers(StoreBase):
    """Announcements, and who made them."""

    def announce(self, cards: Iterable[AlgorithmCard]) -> None:
        """Make these algorithms orderable. They stay so when their workers leave; orders then wait."""
        with reachable():
            for card in cards:
                self._door.records.hset("sl:cards", card.name, card.model_dump_json())

    def cards(self) -> dict[str, AlgorithmCard]:
        """Every algorithm that a worker has announced."""
        with reachable():
            told = self._door.records.hgetall("sl:cards")
        return {
            name: AlgorithmCard.model_validate_json(text) for name, text in sorted(told.items())
        }

    def present(self, name: str, queues: Iterable[str]) -> None:
        """A worker says that it consumes these queues; it is absent again after `ABSENT_AFTER_S`."""
        with reachable():
            now = self._now_ms()
            self._door.records.set(
                f"sl:worker:{name}",
                json.dumps({"queues": list(queues), "at": now}),
                ex=ABSENT_AFTER_S,
            )
            self._door.records.zadd("sl:workers", {name: now})
            self._door.records.zremrangebyscore("sl:workers", "-inf", now - _FORGOTTEN_AFTER_MS)

    def leave(self, name: str) -> None:
        """A worker says goodbye."""
        with reachable():
            self._door.records.delete(f"sl:worker:{name}")
            self._door.records.zrem("sl:workers", name)

    def workers(self) -> list[WorkerView]:
        """Workers that consume now."""
        with reachable():
            now = self._now_ms()
            return [
                WorkerView(w["name"], tuple(w["queues"]), max(0.0, (now - w["at"]) / 1000))
                for w in self._present()
            ]

    def ping(self) -> None:
        """Raises `TemporaryError("store_unreachable")` unless Redis answers."""
        with reachable():
            self._door.records.ping()

    def server(self) -> ServerView:
        """Which server it is, and what it promises, as far as its access list lets us ask."""
        with reachable():
            told = self._door.records.info()
        version = told.get("valkey_version") or told.get("redis_version", "")
        name = f"{told.get('server_name', 'redis')} {version}"
        return ServerView(
            name, bool(told.get("aof_enabled")), told.get("maxmemory_policy") != "noeviction"
        )

    def queues(self) -> list[QueueView]:
        """Every queue that was ever waited on."""
        running = self._door.ask("running")
        with reachable():
            records = self._door.records
            now = self._now_ms()
            listening = [queue for worker in self._present() for queue in worker["queues"]]
            views = []
            for name in sorted(records.smembers("sl:queues")):
                oldest = records.zrange(f"sl:waiting:{name}", 0, 0, withscores=True)
                wait_s = max(0.0, (now - oldest[0][1]) / 1000) if oldest else 0.0
                waiting = records.zcard(f"sl:waiting:{name}")
                views.append(
                    QueueView(name, waiting, running.get(name, 0), wait_s, listening.count(name))
                )
            return views

    def waits(self, order: Order) -> dict[str, Wait]:
        """For each piece of the order's work that waits: on which queue, behind how much, and why."""
        waiting = self._door.ask(
            "waits", order.id, *(work_id(order.id, scan.index) for scan in order.scans)
        )
        if not waiting:
            return {}
        with reachable():
            consumed = {queue for worker in self._present() for queue in worker["queues"]}
        return {work: _wait(told, consumed) for work, told in waiting.items()}

    def _present(self) -> list[dict[str, Any]]:
        records = self._door.records
        names = records.zrange("sl:workers", 0, -1)
        told = records.mget([f"sl:worker:{name}" for name in names]) if names else []
        return [
            json.loads(text) | {"name": name}
            for name, text in zip(names, told, strict=True)
            if text
        ]
