"""How much work waits on each queue, and why a piece of work waits."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from broker.order_store.announced.workers import Heartbeats, obstacle, read_heartbeats
from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import Order, work_id


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


class Backlog(StoreBase):
    """Reading what waits on the queues, and for which workers."""

    def queues(self, also: Iterable[str] = ()) -> list[QueueView]:
        """Return every queue that work has ever waited on, and `also` these, by name."""
        running = self._client.run_json("running")
        with reachable():
            records = self._client.records
            now_ms = self._now_ms()
            consumed = _consumed_queues(read_heartbeats(records))
            views = []
            for name in sorted({*records.smembers(Key.QUEUES), *also}):
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
            heartbeats = read_heartbeats(self._client.records)
        algorithm = order.request.algorithm
        return {work: _wait(found, heartbeats, algorithm) for work, found in waiting.items()}


def _consumed_queues(heartbeats: Heartbeats) -> list[str]:
    """Return the queues that the workers consume, once for each worker."""
    queues = []
    for heartbeat in heartbeats.values():
        queues.extend(heartbeat["queues"])
    return queues


def _wait(found: dict[str, Any], heartbeats: Heartbeats, algorithm: str) -> Wait:
    queue = found["queue"]
    ahead = found["ahead"]
    in_the_way = obstacle(algorithm, queue, heartbeats)
    if in_the_way:
        reason = in_the_way
    elif found["in_ms"] > 0:
        reason = f"tried again in {found['in_ms'] / 1000:.0f} s"
    elif queue not in _consumed_queues(heartbeats):
        reason = f"no worker consumes the queue {queue}"
    elif ahead:
        reason = f"{ahead} ahead of it"
    else:
        reason = "next in its queue"
    return Wait(queue, ahead, reason)
