"""The record of Kue's jobs: their numbers, what was sent, their lists and their removal."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.order_store.encryption import SealedError
from broker.order_store.errors import KueJobNotFoundError
from broker.order_store.keys import Key
from broker.order_store.kue.document import KueJob
from broker.order_store.lifecycle import TaskMessage, messages_of
from broker.order_store.queries import Queries
from broker.order_store.redis_client import reachable
from broker.orders.fields import Priority

KUE_STATES: Final = ("inactive", "active", "complete", "failed", "delayed")
MAX_LISTED: Final = 1000
"""The most jobs in one list."""
MAX_REFUSED: Final = 1000
"""How many jobs are kept that could be no order; the oldest go first."""
_REFUSED_DATA_CHARACTERS: Final = 16_384
"""Larger data of such a job are not kept."""
_PROMOTED: Final = 1000
_NUMBERS: Final = ("priority", "max_attempts", "attempts", "created_at", "updated_at")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class KueSent:
    """What a client of Kue sent, as far as Kue keeps it. Times are milliseconds."""

    type: str
    data: Any
    priority: int = 0
    attempts: int = 1
    delay_ms: int = 0
    ttl_ms: int = 0
    is_told: bool = False


class KueJobs(Queries):
    """The jobs of Kue. A number is that of an order, or of a job that could be none."""

    def next_number(self) -> int:
        """Return a number that no job has had."""
        with reachable():
            return int(self._client.records.incr(Key.KUE_NUMBER))

    def new_job(self, number: int, sent: KueSent) -> dict[str, Any]:
        """Return what an order is to be created with, so that it has this job."""
        return {"kue": str(number), "kue_job": self._hash(sent)}

    def refuse(self, number: int, sent: KueSent, why_not: str) -> None:
        """Store a job that is failed from the start, because it could be no order."""
        fields = self._hash(sent)
        if len(fields["data"]) > _REFUSED_DATA_CHARACTERS:
            fields["data"] = self._encryption.encrypt("{}")
        keep_ms = int(self._settings.keep_s * 1000)
        self._client.run("kue_refuse", number, json.dumps(fields), why_not, MAX_REFUSED, keep_ms)

    def number_of(self, order_id: str) -> int | None:
        """Return the number of an order's job, or None where it has none."""
        with reachable():
            number = self._client.records.hget(Key.ORDER + order_id, "kue")
        if not number:
            return None
        return int(number)

    def job(self, number: int) -> KueJob:
        """Return one job. Raise `KueJobNotFoundError`."""
        found = self._jobs([number])
        if found and found[0].state == "delayed":
            self.promote()
            found = self._jobs([number])
        if not found:
            raise KueJobNotFoundError(str(number))
        return found[0]

    def listed(
        self, first: int, last: int, state: str | None = None, kind: str | None = None
    ) -> list[KueJob]:
        """Return the jobs in these places of a list, by their numbers.

        The list is that of all jobs, of a state, or of a state and a type, in Kue's order: by
        priority, then by number. Both ends count, and those below zero count from the end.
        """
        self.promote()
        key = _list_key(state, kind)
        with reachable():
            length = self._client.records.zcard(key)
            first = max(0, _from_the_start(first, length))
            last = min(_from_the_start(last, length), first + MAX_LISTED - 1)
            if last < first:
                return []
            members = self._client.records.zrange(key, first, last)
        return self._jobs(sorted(int(member.partition("|")[2]) for member in members))

    def count_in(self, state: str, kind: str | None = None) -> int:
        """Return how many jobs are in a state, of one type or of all."""
        self.promote()
        with reachable():
            return int(self._client.records.zcard(_list_key(state, kind)))

    def counted(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return {state: self.count_in(state) for state in KUE_STATES}

    def work_time_ms(self) -> int:
        """Return how long all complete jobs took together."""
        with reachable():
            return int(self._client.records.get(Key.KUE_WORK_TIME) or 0)

    def types(self) -> list[str]:
        """Return the types of jobs that were sent so far."""
        with reachable():
            return sorted(self._client.records.smembers(Key.KUE_TYPES))

    def remove(self, number: int) -> str:
        """Remove a job; return the id of its order, empty where it has none.

        Raise `KueJobNotFoundError`.
        """
        order_id = str(self._client.run("kue_remove", number))
        if order_id == "absent":
            raise KueJobNotFoundError(str(number))
        return order_id

    def set_priority(
        self, number: int, priority: int, of_order: Priority
    ) -> tuple[TaskMessage, ...]:
        """Change the priority of a job, and of its order while that waits.

        Return the messages to enqueue. Raise `KueJobNotFoundError`.
        """
        answer = self._client.run_json("kue_priority", number, priority, of_order)
        if "absent" in answer:
            raise KueJobNotFoundError(str(number))
        return messages_of(answer)

    def promote(self) -> None:
        """Make jobs `inactive` whose delay is over."""
        self._client.run("kue_promote", _PROMOTED)

    def active(self, limit: int) -> list[KueJob]:
        """Return jobs whose orders are being worked on."""
        with reachable():
            key = _list_key("active", None)
            members = self._client.records.zrange(key, 0, limit - 1)
        return self._jobs([int(member.partition("|")[2]) for member in members])

    def with_numbers(self, numbers: Sequence[int]) -> dict[int, KueJob]:
        """Return those of the jobs that there are, by their numbers."""
        return {job.number: job for job in self._jobs(numbers)}

    def _jobs(self, numbers: Sequence[int]) -> list[KueJob]:
        with reachable():
            pipeline = self._client.records.pipeline(transaction=False)
            for number in numbers:
                pipeline.hgetall(f"{Key.KUE_JOB}{number}")
            hashes = pipeline.execute()
        found = [
            (number, fields)
            for number, fields in zip(numbers, hashes, strict=True)
            if _is_whole(fields)
        ]
        order_ids = [fields["order"] for _, fields in found if fields.get("order")]
        orders = dict(zip(order_ids, self.get_many(order_ids), strict=True))
        return [
            KueJob(number, fields, self._data(fields), orders.get(fields.get("order", "")))
            for number, fields in found
        ]

    def _data(self, fields: Mapping[str, str]) -> Any:
        """Return what was sent as data; nothing where it was encrypted with an unknown key."""
        try:
            return json.loads(self._encryption.decrypt(fields["data"]))
        except (SealedError, LookupError, ValueError):
            return {}

    def _hash(self, sent: KueSent) -> dict[str, str]:
        fields = {
            "type": sent.type,
            "data": self._encryption.encrypt(json.dumps(sent.data)),
            "priority": str(sent.priority),
            "max_attempts": str(sent.attempts),
        }
        if sent.delay_ms:
            fields["delay"] = str(sent.delay_ms)
        if sent.ttl_ms:
            fields["ttl"] = str(sent.ttl_ms)
        if sent.is_told:
            fields["told"] = "1"
        return fields


def _is_whole(fields: Mapping[str, str]) -> bool:
    """Return whether the hash of a job can be shown. One that is damaged is as good as none."""
    if not {"type", "state", "data"} <= set(fields):
        return False
    return all(_NUMBER.fullmatch(fields.get(name, "")) for name in _NUMBERS)


def _list_key(state: str | None, kind: str | None) -> str:
    if state is None:
        return Key.KUE_JOBS
    if kind is None:
        return Key.KUE_JOBS_BY_STATE + state
    return f"{Key.KUE_JOBS_BY_TYPE}{state}:{kind}"


def _from_the_start(place: int, length: int) -> int:
    if place < 0:
        return place + length
    return place
