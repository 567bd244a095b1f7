"""The life of orders: create, claim under a lease, renew, finish, give back.

Each write to claimed work carries the claim's fencing number.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from broker.errors import Problem
from broker.order_store.errors import KeyReusedError, TooManyWaitingError
from broker.order_store.keys import Key
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import Stage, task_id
from broker.orders.presigned_url import url_expires_at
from broker.orders.request import OrderRequest, ScanRequest, expiry_ms

Fields = Mapping[str, Any]
LeaseState = Literal["ok", "cancel", "lost"]
"""Of a claim: it holds, it holds and the order is to be cancelled, or it holds no longer."""


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A message to enqueue: work waits on this queue for this stage. It may be lost or doubled.

    `attempt` is the number of the attempt that it asks for, from 1 in each stage.
    """

    stage: Stage
    work: str
    queue: str
    attempt: int = 1

    @property
    def task_id(self) -> str:
        """Return the id of the Celery task that does this attempt."""
        return task_id(self.work, self.stage, self.attempt)


@dataclass(frozen=True, slots=True)
class Creator:
    """Who places an order: the name of an API key, and how many of its orders may be queued.

    `job`: of an order that came from a client of Kue, what `KueJobs.new_job` returned.
    `looked_at`: by their number, the scans whose slide they looked at, with its place in the slide
    cache.
    """

    name: str
    max_waiting: int | None = None
    job: Fields | None = None
    looked_at: Mapping[int, Fields] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` did: the order, whether it is new, and the messages to enqueue."""

    order_id: str
    fresh: bool
    messages: tuple[TaskMessage, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Work that a worker holds while its lease lasts.

    Every write carries `fence`; one with an older fence than the record's is refused. `attempts`
    counts the claims that lost their worker, and this one; `attempt` all claims of the stage.
    """

    work: str
    stage: Stage
    worker: str
    fence: int
    attempts: int
    retries: int
    attempt: int
    most_attempts: int = 0
    """How often the order allows each stage of a scan to be tried; 0 = it does not say."""

    @property
    def task_id(self) -> str:
        """Return the id of the Celery task that does this attempt."""
        return task_id(self.work, self.stage, self.attempt)


class LeaseLostError(Exception):
    """The work belongs to another claim: stop working on it and write nothing more."""


def messages_of(answer: Mapping[str, Any]) -> tuple[TaskMessage, ...]:
    """Return the messages to enqueue from the reply of a script."""
    # cjson encodes an empty list as an empty object
    messages = answer.get("messages") or ()
    return tuple(
        TaskMessage(one["stage"], one["work"], one["queue"], one["attempt"]) for one in messages
    )


class Lifecycle(StoreBase):
    """Changes of orders by the API, the workers and the scheduler."""

    def create(
        self,
        request: OrderRequest,
        *,
        queue: str,
        key: str | None = None,
        fingerprint: str = "",
        creator: Creator | None = None,
        key_life_s: int | None = None,
    ) -> Created:
        """Store a new order whose scans are classified on `queue`; it is safe once this returns.

        The same `key` (an Idempotency-Key) with the same `fingerprint` returns the first order, for
        `key_life_s`, or `broker.idempotency_s` without it.
        Raise `OrderError("key_reused")` and `TemporaryError("too_many_waiting")`.
        """
        settings = self._settings
        record: dict[str, Any] = {
            "request": self._encryption.encrypt(request.whole_without_destination()),
            "algorithm": request.algorithm,
            "classify_queue": queue,
            "priority": request.priority,
            "delay_ms": int((request.delay_s or 0) * 1000),
            "most_attempts": request.attempts or 0,
            "on_scan_failure": request.on_scan_failure,
        }
        record |= self._encryption.destination_fields(request.resolved_destination)
        if request.notified:
            record["notify_events"] = " ".join(request.notified[1])
        max_own_waiting: int | str = ""
        places: Mapping[int, Fields] = {}
        if key_life_s is None:
            key_life_s = settings.idempotency_s
        if creator:
            record["created_by"] = creator.name
            record |= creator.job or {}
            places = creator.looked_at
            if creator.max_waiting is not None:
                max_own_waiting = creator.max_waiting
        scans = [
            _scan_fields(scan, places.get(number)) for number, scan in enumerate(request.scans)
        ]
        expires_at_ms = expiry_ms(request.expires_at) or -int(settings.order_life_s * 1000)
        answer = self._client.run_json(
            "create",
            secrets.token_hex(12),
            json.dumps(record),
            json.dumps(scans),
            json.dumps(request.labels),
            expires_at_ms,
            key or "",
            fingerprint,
            key_life_s,
            settings.max_waiting,
            max_own_waiting,
        )
        if "conflict" in answer:
            raise KeyReusedError(answer["conflict"])
        if "refused" in answer:
            raise TooManyWaitingError(answer, settings.max_waiting, record.get("created_by"))
        return Created(answer["id"], answer["fresh"], messages_of(answer))

    def find_by_key(self, key: str, fingerprint: str) -> str | None:
        """Return the id of the order that was created with this Idempotency-Key, or None.

        Raise `OrderError("key_reused")` where its request was another one.
        """
        with reachable():
            order_id, stored = self._client.records.hmget(
                Key.IDEMPOTENCY + key, "id", "fingerprint"
            )
        if not order_id:
            return None
        if stored != fingerprint:
            raise KeyReusedError(order_id)
        return str(order_id)

    def expiring_first(self, work: str, limit: int = 500) -> str:
        """Return what to fetch in place of `work`: of the work on its queue, what expires first.

        A message says that something waits on the queue, not what is to be claimed. The message
        of the other work will lead to `work` in its turn.
        """
        return str(self._client.run("expiring_first", work, limit))

    def claim(self, work: str, stage: Stage, worker: str) -> Claim | None:
        """Claim waiting work, or return None when it does not wait (any more)."""
        answer = self._client.run_json(
            "claim", work, stage, worker, self._lease_ms, secrets.token_hex(8)
        )
        if "refused" in answer:
            return None
        return Claim(work, stage, worker, **answer)

    def renew(self, claim: Claim, progress: Fields | None = None) -> LeaseState:
        """Prolong the lease and store the progress. Return how the claim stands."""
        text = ""
        if progress:
            text = json.dumps(progress)
        state: LeaseState = self._client.run("renew", claim.work, claim.fence, self._lease_ms, text)
        return state

    def check_lease(self, claim: Claim) -> LeaseState:
        """Return how the claim stands; write nothing."""
        state: LeaseState = self._client.run("check_lease", claim.work, claim.fence)
        return state

    def note(
        self,
        claim: Claim,
        fields: Fields | None = None,
        *,
        attempt: tuple[int, Fields] | None = None,
        log: str = "",
        lines: Sequence[str] = (),
    ) -> None:
        """Write fields, delivery attempt number n, or lines of the log of work that is held.

        Raise `LeaseLostError`.
        """
        number, attempt_fields = attempt or (-1, {})
        answer = self._client.run(
            "note",
            claim.work,
            claim.fence,
            _as_texts(fields),
            number,
            json.dumps(attempt_fields),
            log,
            *lines,
        )
        if answer != "ok":
            raise LeaseLostError(claim.work)

    def finish(
        self,
        claim: Claim,
        to: str,
        fields: Fields | None = None,
        *,
        problem: Problem | None = None,
        log: Sequence[str] = (),
    ) -> tuple[TaskMessage, ...]:
        """End the claim: the work reached state `to`. Return the messages to enqueue.

        `log`: lines of the order's log that say what was done. Raise `LeaseLostError`.
        """
        return self._end(claim, to, fields, problem, 0, "", "", *log)

    def finish_encoded(
        self, claim: Claim, fields: Fields, *, log: Sequence[str] = ()
    ) -> tuple[TaskMessage, ...]:
        """End the claim: the scan is encoded for its case, which is judged once all scans are.

        The scan ends `classified`. The last scan of the order waits once more instead, with
        `judges_case`: whoever claims it judges the case. Return the messages to enqueue. Raise
        `LeaseLostError`.
        """
        case = json.dumps({"encoded": True})
        return self._end(claim, "classified", fields, None, 0, "", case, *log)

    def finish_case(
        self, claim: Claim, fields: Sequence[Fields], *, log: Sequence[str] = ()
    ) -> tuple[TaskMessage, ...]:
        """End the claim: the case is judged, and every scan of the order has its result.

        `fields`: those of each scan, in the order's order; all are written at once. Return the
        messages to enqueue. Raise `LeaseLostError`.
        """
        scans = {str(number): _texts(one) for number, one in enumerate(fields)}
        case = json.dumps({"scans": scans})
        return self._end(claim, "classified", None, None, 0, "", case, *log)

    def give_back(
        self,
        claim: Claim,
        fields: Fields | None = None,
        *,
        problem: Problem | None = None,
        delay_s: float = 0,
        reason: str = "",
    ) -> tuple[TaskMessage, ...]:
        """End the claim: the work waits again, from `delay_s` on.

        The order's log says the problem, or else the reason. The claim does not count as one of
        the `broker.attempts`. Return the messages to enqueue.
        Raise `LeaseLostError`.
        """
        return self._end(claim, "back", fields, problem, int(delay_s * 1000), reason, "")

    def due(self, limit: int = 200) -> tuple[TaskMessage, ...]:
        """Check what is due and change what time has changed. Return the messages to enqueue.

        Leases end, orders expire, and work whose message was lost gets another one.
        """
        settings = self._settings
        answer = self._client.run_json(
            "due",
            limit,
            int(settings.hint_again_s * 1000),
            settings.attempts,
            json.dumps(self._client.queue_lengths()),
            int(settings.age_s * 1000),
        )
        return messages_of(answer)

    def take_back(
        self, worker: str, seen: str, *, work: str = "", asked_to_stop: bool = False
    ) -> tuple[TaskMessage, ...]:
        """Take back `work`, or all work, of a worker that is known to be gone.

        `seen` says what was seen of its end. With `asked_to_stop` the claim does not count as an
        attempt. Return the messages to enqueue.
        """
        answer = self._client.run_json(
            "take_back", worker, seen, self._settings.attempts, work, int(asked_to_stop)
        )
        return messages_of(answer)

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)

    def _end(
        self,
        claim: Claim,
        to: str,
        fields: Fields | None,
        problem: Problem | None,
        *more: object,
    ) -> tuple[TaskMessage, ...]:
        """Run the script; `more` is what follows the problem in its arguments."""
        text = ""
        if problem:
            text = json.dumps(problem.as_dict())
        answer = self._client.run_json(
            "finish",
            claim.work,
            claim.fence,
            to,
            _as_texts(fields),
            text,
            *more,
        )
        if "lost" in answer:
            raise LeaseLostError(claim.work)
        return messages_of(answer)


def _as_texts(fields: Fields | None) -> str:
    """Return fields of a hash as JSON; see `_texts`."""
    return json.dumps(_texts(fields or {}))


def _texts(fields: Fields) -> dict[str, str]:
    """Return fields of a hash: a text stays as it is, any other value becomes JSON."""
    texts = {}
    for name, value in fields.items():
        if isinstance(value, str):
            texts[name] = value
        else:
            texts[name] = json.dumps(value)
    return texts


def _scan_fields(scan: ScanRequest, looked_at: Fields | None) -> dict[str, Any]:
    """Return what a new scan is stored with: its id, and in ms when its first URL expires.

    Also the place in the slide cache of a slide that somebody looked at.
    """
    fields: dict[str, Any] = {"id": scan.id}
    if looked_at:
        fields["looked_at"] = json.dumps(dict(looked_at))
    times = [url_expires_at(url) for _, url in scan.source.addresses]
    known = [time for time in times if time]
    if known:
        fields["dies_at"] = int(min(known) * 1000)
    return fields
