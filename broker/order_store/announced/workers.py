"""The heartbeats of the workers, and the algorithms that they announced."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.algorithm_card import AlgorithmCard, Announcement
from broker.orders.order import parse_work_id

ABSENT_AFTER_S = 10
"""A worker counts as gone when its last heartbeat is this old."""
_FORGOTTEN_AFTER_MS = 86_400_000
Heartbeats = Mapping[str, Mapping[str, Any]]
"""The last heartbeat of each living worker, by its name."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker whose heartbeats come: it consumes these queues.

    `offered`, `checking` and `unavailable` are those of its `Announcement`, by name. `offered` is
    None for a worker that says nothing of algorithms: a courier, or one of an older version.
    """

    name: str
    queues: tuple[str, ...]
    seen_s_ago: float
    offered: tuple[str, ...] | None = None
    checking: tuple[str, ...] = ()
    unavailable: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] | None = None
    """What it told of its machine last, None before that and of an older version."""


@dataclass(frozen=True, slots=True)
class KnownAlgorithm:
    """One algorithm that a worker has announced.

    `card` is None where none was ever announced. `reason` says why no worker can run it now; it is
    empty where one can, and where its workers are absent: orders then wait for them. `texts` are
    the names of the files that its authors wrote about it.
    """

    name: str
    card: AlgorithmCard | None
    reason: str
    texts: tuple[str, ...] = ()


class Workers(StoreBase):
    """The heartbeats of the workers, and the cards of algorithms."""

    def announce(
        self, cards: Iterable[AlgorithmCard], texts: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Make these algorithms orderable.

        They stay orderable when their workers leave; orders then wait for a worker. `texts` replace
        what is known of the algorithms in it: by name, then by that of the file.
        """
        with reachable():
            for card in cards:
                self._client.records.hset(Key.CARDS, card.name, card.model_dump_json())
            stored = self._texts()
            for name, files in (texts or {}).items():
                for file in set(stored.get(name, ())) - files.keys():
                    self._client.records.hdel(Key.TEXTS, f"{name}/{file}")
                for file, text in files.items():
                    self._client.records.hset(Key.TEXTS, f"{name}/{file}", text)

    def text(self, name: str, file: str) -> str | None:
        """Return what the authors of an algorithm wrote about it in a file, None if there is none.

        It is text of others.
        """
        with reachable():
            found: str | None = self._client.records.hget(Key.TEXTS, f"{name}/{file}")
        return found

    def _texts(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the files with texts of each algorithm that has some."""
        found: dict[str, tuple[str, ...]] = {}
        for key in sorted(self._client.records.hkeys(Key.TEXTS)):
            name, _, file = key.partition("/")
            found[name] = (*found.get(name, ()), file)
        return found

    def cards(self) -> dict[str, AlgorithmCard]:
        """Return the card of every algorithm that a worker has announced, by name.

        A card that cannot be read is left out.
        """
        with reachable():
            stored = self._client.records.hgetall(Key.CARDS)
        cards = {}
        for name, text in sorted(stored.items()):
            card = _card(name, text)
            if card:
                cards[name] = card
        return cards

    def algorithms(self) -> list[KnownAlgorithm]:
        """Return every algorithm that a worker has announced, by name."""
        cards = self.cards()
        reasons = self.unavailable()
        with reachable():
            texts = self._texts()
        return [
            KnownAlgorithm(name, cards.get(name), reasons.get(name, ""), texts.get(name, ()))
            for name in sorted({*cards, *reasons})
        ]

    def unavailable(self) -> dict[str, str]:
        """Return why each algorithm that no worker can run is unavailable, by name.

        Only what living workers say counts: an algorithm whose workers are absent is not in it.
        """
        return reasons_of(self.workers())

    def present(
        self,
        name: str,
        queues: Iterable[str],
        announcement: Announcement | None = None,
        settings: Mapping[str, Any] | None = None,
        machine: Mapping[str, Any] | None = None,
    ) -> None:
        """Store a heartbeat: this worker consumes these queues for `ABSENT_AFTER_S` from now on.

        `settings`: those of its settings that `slidelane doctor` shows. `machine`: its cores,
        memory, disk and GPUs.
        """
        heartbeat: dict[str, Any] = {"queues": list(queues)}
        if announcement:
            heartbeat["offered"] = [card.name for card in announcement.cards]
            heartbeat["checking"] = list(announcement.checking)
            heartbeat["unavailable"] = dict(announcement.unavailable)
        if settings:
            heartbeat["settings"] = dict(settings)
        if machine:
            heartbeat["machine"] = dict(machine)
        with reachable():
            records = self._client.records
            now_ms = self._now_ms()
            heartbeat["at"] = now_ms
            records.set(Key.WORKER + name, json.dumps(heartbeat), ex=ABSENT_AFTER_S)
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
        return [_view(name, heartbeat, now_ms) for name, heartbeat in heartbeats.items()]

    def may_run(self, worker: str, work: str) -> bool:
        """Return whether the worker offers the algorithm of this work.

        True also where the worker has not said yet what it offers.
        """
        order_id, _ = parse_work_id(work)
        with reachable():
            pipeline = self._client.records.pipeline(transaction=False)
            pipeline.get(Key.WORKER + worker)
            pipeline.hget(Key.ORDER + order_id, "algorithm")
            text, algorithm = pipeline.execute()
        heartbeat = _heartbeat(text)
        if heartbeat is None or algorithm is None or "offered" not in heartbeat:
            return True
        return algorithm in heartbeat["offered"]


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
        heartbeat = _heartbeat(text)
        if heartbeat:
            heartbeats[name] = heartbeat
    return heartbeats


def reasons_of(workers: Iterable[WorkerView]) -> dict[str, str]:
    """Return why each algorithm that none of the workers can run is unavailable, by name."""
    reasons: dict[str, str] = {}
    offered: set[str] = set()
    for worker in workers:
        reasons.update(worker.unavailable)
        offered.update(worker.offered or ())
    return {name: reason for name, reason in sorted(reasons.items()) if name not in offered}


def obstacle(algorithm: str, queue: str, heartbeats: Heartbeats) -> str:
    """Return why no worker of the queue takes scans for the algorithm.

    Empty where one does, and where the queue has no worker that says what it offers.
    """
    listeners = [one for one in heartbeats.values() if queue in one["queues"]]
    if any("offered" not in one or algorithm in one["offered"] for one in listeners):
        return ""
    if any(algorithm in one["checking"] for one in listeners):
        return f"a worker is loading the algorithm {algorithm} for the first time"
    for one in listeners:
        if algorithm in one["unavailable"]:
            return f"the algorithm {algorithm} is unavailable: {one['unavailable'][algorithm]}"
    if listeners:
        return f"no worker of the queue {queue} has the algorithm {algorithm} in its settings"
    return ""


def _heartbeat(text: str | None) -> dict[str, Any] | None:
    """Return a heartbeat as it was stored; None for one that ended or cannot be read."""
    if not text:
        return None
    try:
        heartbeat = json.loads(text)
    except ValueError:
        return None
    if isinstance(heartbeat, dict) and "queues" in heartbeat and "at" in heartbeat:
        return heartbeat
    return None


def _view(name: str, heartbeat: Mapping[str, Any], now_ms: float) -> WorkerView:
    offered = None
    if "offered" in heartbeat:
        offered = tuple(heartbeat["offered"])
    return WorkerView(
        name=name,
        queues=tuple(heartbeat["queues"]),
        seen_s_ago=max(0.0, (now_ms - heartbeat["at"]) / 1000),
        offered=offered,
        checking=tuple(heartbeat.get("checking", ())),
        unavailable=heartbeat.get("unavailable", {}),
        settings=heartbeat.get("settings", {}),
        machine=heartbeat.get("machine"),
    )


def _card(name: str, text: str) -> AlgorithmCard | None:
    """Return a stored card, without fields of a newer version; None for one that is damaged."""
    try:
        given = json.loads(text)
        own = {key: value for key, value in given.items() if key in _CARD_FIELDS}
        return AlgorithmCard.model_validate(own)
    except (ValueError, AttributeError, ValidationError) as error:
        _log.warning("the card of %s in Redis cannot be read: %s", name, type(error).__name__)
        return None


_CARD_FIELDS = frozenset({*AlgorithmCard.model_fields, "lane"})
