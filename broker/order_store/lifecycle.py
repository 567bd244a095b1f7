"""The life of orders: created, taken under a lease, renewed, finished; every write carries its fencing number."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.errors import OrderError, Problem, TemporaryError
from broker.order_store.redis_client import StoreBase, reachable
from broker.orders.order import Stage
from broker.orders.presigned_url import url_dies_at
from broker.orders.request import OrderRequest, ScanRequest, expiry_ms

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A ring of the doorbell: this work waits for this stage on this queue. May be lost or doubled."""

    stage: Stage
    work: str
    queue: str


@dataclass(frozen=True, slots=True)
class Created:
    """What `create` did: the order, whether it is new, and whom to ring."""

    order_id: str
    fresh: bool
    hints: tuple[TaskMessage, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Work that is ours while its lease lasts. `fence` goes with every write; a stale one is refused."""

    work: str
    stage: Stage
    worker: str
    fence: int
    attempts: int
    retries: int


class LeaseLostError(Exception):
    """The work is no longer ours: stop, and leave no trace."""


def messages_of(answer: Mapping[str, Any]) -> tuple[TaskMessage, ...]:
    """Whom to ring, as a script answered it."""
    return tuple(TaskMessage(h["stage"], h["work"], h["queue"]) for h in answer.get("hints") or ())


def _as_texts(fields: Fields | None) -> str:
    return json.dumps(
        {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in (fields or {}).items()
        }
    )


def _scan_fields(scan: ScanRequest) -> dict[str, Any]:
    deaths = [url_dies_at(url) for _, url in scan.source.addresses]
    dies_at = min((death for death in deaths if death), default=None)
    return {"id": scan.id} | ({"dies_at": int(dies_at * 1000)} if dies_at else {})


def _key_reused(order_id: str) -> OrderError:
    hint = f"that order is {order_id}; use a new key"
    return OrderError("key_reused", "this Idempotency-Key stands for another order", hint=hint)


class Lifecycle(StoreBase):
    """What changes an order."""

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)

    def create(
        self, request: OrderRequest, *, queue: str, key: str | None = None, fingerprint: str = ""
    ) -> Created:
        """Keep a new order; once this returned, it is safe. Same `key`, same `fingerprint`: the first order again.

        Raises `OrderError("key_reused")` and `TemporaryError("too_many_waiting")`.
        """
        record = {
            "request": self._seal.close(request.whole()),
            "algorithm": request.algorithm,
            "classify_queue": queue,
            "priority": request.priority,
        }
        scans, kept = [_scan_fields(scan) for scan in request.scans], self._settings
        until_ms = expiry_ms(request.expires_at) or -int(kept.order_life_s * 1000)
        answer = self._door.ask(
            "create", secrets.token_hex(12), json.dumps(record), json.dumps(scans), json.dumps(request.labels),
            until_ms, key or "", fingerprint, kept.idempotency_s, kept.max_waiting,
        )  # fmt: skip
        if "conflict" in answer:
            raise _key_reused(answer["conflict"])
        if "full" in answer:
            raise TemporaryError(
                "too_many_waiting",
                f"{kept.max_waiting} orders wait already",
                hint="try again later",
                retry_after_s=30,
            )
        if "percent" in answer:
            detail = f"Redis' memory is {answer['percent']} % full; the rest is for orders that are kept already"
            hint = "try again later; the operator can raise Redis' maxmemory or lower broker.keep_s"
            raise TemporaryError("too_many_waiting", detail, hint=hint, retry_after_s=30)
        return Created(answer["id"], answer["fresh"], messages_of(answer))

    def known(self, key: str, fingerprint: str) -> str | None:
        """The order that this key stands for already. Raises `OrderError("key_reused")`."""
        with reachable():
            order_id, kept = self._door.records.hmget(f"sl:key:{key}", "id", "fingerprint")
        if order_id and kept != fingerprint:
            raise _key_reused(order_id)
        return str(order_id) if order_id else None

    def soonest(self, work: str, limit: int = 500) -> str:
        """What to fetch in place of `work`: of the longest waiting beside it, that whose URL dies first.

        A hint says that something waits, not what must be taken; the other's own hint will take this one in its turn.
        """
        return str(self._door.run("soonest", work, limit))

    def claim(self, work: str, stage: Stage, worker: str) -> Claim | None:
        """Take waiting work, or None when it is not there to be taken (any more)."""
        answer = self._door.ask("claim", work, stage, worker, self._lease_ms, secrets.token_hex(8))
        if "refused" in answer:
            return None
        return Claim(work, stage, worker, answer["fence"], answer["attempts"], answer["retries"])

    def renew(
        self, claim: Claim, progress: Fields | None = None
    ) -> Literal["ok", "cancel", "lost"]:
        """Prolong the lease and tell the progress."""
        told = json.dumps(progress) if progress else ""
        answer: Literal["ok", "cancel", "lost"] = self._door.run(
            "renew", claim.work, claim.fence, self._lease_ms, told
        )
        return answer

    def look(self, claim: Claim) -> Literal["ok", "cancel", "lost"]:
        """Whether the work is still ours and wanted; writes nothing."""
        answer: Literal["ok", "cancel", "lost"] = self._door.run("look", claim.work, claim.fence)
        return answer

    def note(
        self,
        claim: Claim,
        fields: Fields | None = None,
        *,
        attempt: tuple[int, Fields] | None = None,
        log: str = "",
    ) -> None:
        """Write beside work that is ours: fields, delivery attempt n, a line for the log. Raises `LeaseLostError`."""
        number, told = attempt or (-1, {})
        answer = self._door.run(
            "note", claim.work, claim.fence, _as_texts(fields), number, json.dumps(told), log
        )
        if answer != "ok":
            raise LeaseLostError(claim.work)

    def finish(
        self, claim: Claim, to: str, fields: Fields | None = None, *, problem: Problem | None = None
    ) -> tuple[TaskMessage, ...]:
        """The work reached state `to`. Returns whom to ring. Raises `LeaseLostError`."""
        return self._end(claim, to, fields, problem)

    def give_back(
        self,
        claim: Claim,
        fields: Fields | None = None,
        *,
        problem: Problem | None = None,
        delay_s: float = 0,
    ) -> tuple[TaskMessage, ...]:
        """The work waits again, from `delay_s` on; this claim counts for nothing. Raises `LeaseLostError`."""
        return self._end(claim, "back", fields, problem, delay_s)

    def _end(
        self,
        claim: Claim,
        to: str,
        fields: Fields | None,
        problem: Problem | None,
        delay_s: float = 0,
    ) -> tuple[TaskMessage, ...]:
        told = json.dumps(problem.as_dict()) if problem else ""
        answer = self._door.ask(
            "finish", claim.work, claim.fence, to, _as_texts(fields), told, int(delay_s * 1000)
        )
        if "lost" in answer:
            raise LeaseLostError(claim.work)
        return messages_of(answer)

    def due(self, limit: int = 200) -> tuple[TaskMessage, ...]:
        """Move everything that is due forward; returns whom to ring."""
        again_ms, lengths = int(self._settings.hint_again_s * 1000), self._door.lengths()
        kept = self._settings
        return messages_of(
            self._door.ask(
                "due", limit, again_ms, kept.attempts, json.dumps(lengths), int(kept.age_s * 1000)
            )
        )

    def lost(
        self, worker: str, seen: str, *, work: str = "", asked_to_go: bool = False
    ) -> tuple[TaskMessage, ...]:
        """Take back what a worker held that is known to be gone; `asked_to_go`: this counts for nothing."""
        allowed = self._settings.attempts
        return messages_of(self._door.ask("lost", worker, seen, allowed, work, int(asked_to_go)))
