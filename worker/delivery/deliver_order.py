"""Deliver the results of an order exactly once.

The payload is stored before it is sent, and every attempt is recorded before it is made. After a
lost or untrue answer the destination is asked, again and again for a while, before anything is sent
again. docs/orders.md has the words for the outcome of an attempt.
"""

import time
from typing import Any

import requests

from broker.file_storage.interface import Storage
from broker.order_store import Claim, OrderStore, TaskMessage
from broker.orders.order import Attempt, Order
from broker.settings.config import DeliverySettings
from worker.backoff import backoff_s
from worker.delivery import problems
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.destination import Destination, create_destination
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.destinations.techcyte.tokens import TokenCache
from worker.delivery.follow_up import FollowUp, follows
from worker.delivery.payload import Receipt
from worker.delivery.stored_payload import PayloadRecord, StoredPayloads
from worker.process.lease import Lease

NO_ANSWER_YET = "sent; no answer yet"
"""The `error` of an attempt on record whose outcome was not written down yet."""
_ASKED_AT_LEAST = 4
"""How often a destination is asked, at least, before it is believed that it has nothing."""


class Deliverer:
    """Makes delivery attempts; threads share it."""

    def __init__(
        self,
        store: OrderStore,
        storage: Storage,
        session: requests.Session,
        breakers: CircuitBreakers,
        settings: DeliverySettings,
    ) -> None:
        self._store = store
        self._payloads = StoredPayloads(store, storage)
        self._follow_up = FollowUp(store, storage, settings)
        self._tokens = TokenCache()
        self._session = session
        self._breakers = breakers
        self._settings = settings

    def attempt(self, order: Order, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
        """Deliver the order, or find that it was delivered, or schedule another attempt.

        Return the task messages to enqueue. Raise `StopWork` or `LeaseLostError` if the work is no
        longer ours, `OrderError` if the results cannot be sent, and `TemporaryError` if the
        destination or the storage cannot be reached.
        """
        request = order.request
        destination = create_destination(
            order.id,
            request.labels,
            request.resolved_destination,
            self._session,
            self._settings,
            self._tokens,
        )
        record = self._payloads.stored(order, claim, lease, destination)
        with self._breakers.acquire(destination.host):
            if order.last_attempt:
                messages = self._end_without_sending(order, claim, lease, destination)
                if messages is not None:
                    return messages
            return self._send(order, claim, lease, destination, record)

    def _end_without_sending(
        self, order: Order, claim: Claim, lease: Lease, destination: Destination
    ) -> tuple[TaskMessage, ...] | None:
        """Return the task messages if earlier attempts forbid another one now, else None."""
        last = order.attempts[-1]
        if last.outcome in ("accepted", "found"):
            attempt = (len(order.attempts) - 1, _fields(last))
            return self._end_as_delivered(order, claim, lease, destination, attempt)
        has_arrived = destination.has_received(order.id)
        if has_arrived:
            return self._end_as_found(order, claim, lease, destination)
        if last.outcome == "unknown" and destination.is_repeatable and not order.cancel:
            return None
        if last.outcome == "unknown":
            return self._clear_up(order, claim, can_say=has_arrived is not None)
        if order.cancel:
            return self._store.finish(claim, "cancelled", problem=problems.cancelled())
        return None

    def _end_as_found(
        self, order: Order, claim: Claim, lease: Lease, destination: Destination
    ) -> tuple[TaskMessage, ...]:
        """Record that the destination has the results although it did not confirm them."""
        uncertain = [
            number
            for number, attempt in enumerate(order.attempts)
            if number >= order.attempts_before
            and attempt.outcome in ("unknown", "missing", "untrue")
        ]
        number = len(order.attempts) - 1
        if uncertain:
            number = uncertain[-1]
        found = _fields(order.attempts[number]) | {"outcome": "found"}
        found |= _follow_up_field(order, destination)
        log = f"delivery attempt {number + 1}: found: the destination was asked and has the results"
        self._store.note(claim, attempt=(number, found), log=log)
        return self._end_as_delivered(order, claim, lease, destination, (number, found))

    def _end_as_delivered(
        self,
        order: Order,
        claim: Claim,
        lease: Lease,
        destination: Destination,
        attempt: tuple[int, dict[str, Any]],
    ) -> tuple[TaskMessage, ...]:
        """Do what follows results, and end the order, whatever became of that.

        `attempt` is the one by which the results arrived: its number and its fields on record.
        """
        if isinstance(destination, Techcyte) and follows(order, destination):
            number, fields = attempt
            warnings = self._follow_up.run(order, lease, destination)
            done = fields | {"follow_up": False}
            log = "what follows the results is done"
            if warnings:
                done["warnings"] = [one.model_dump() for one in warnings]
                log = "; ".join(f"warning {one.code}: {one.detail}" for one in warnings)
            lease.retry_write(self._store.note, claim, attempt=(number, done), log=log)
        return self._store.finish(claim, "delivered")

    def _clear_up(
        self, order: Order, claim: Claim, *, can_say: bool
    ) -> tuple[TaskMessage, ...] | None:
        """Decide after an attempt that may have arrived, which the destination did not confirm now.

        Return the task messages if nothing may be sent now, else None.
        """
        last = order.attempts[-1]
        if not can_say:
            if order.resend and not order.cancel:
                return None
            if order.cancel or self._settings.on_unknown == "stop":
                problem = problems.delivery_unknown(last)
                return self._store.finish(claim, "undelivered", problem=problem)
            return None
        now_s = self._store.now_s()
        if last.took_s is None:
            last = self._record_lost_attempt(order, claim, now_s)
        waited_s = now_s - last.at - (last.took_s or 0)
        if waited_s < self._settings.unknown_patience_s:
            return self._ask_again(order, claim, waited_s)
        return self._record_as_not_arrived(order, claim, last)

    def _record_lost_attempt(self, order: Order, claim: Claim, now_s: float) -> Attempt:
        """Record that the last attempt's courier was lost, as of now; return the attempt."""
        number = len(order.attempts) - 1
        error = "the courier was lost before the answer came"
        update = {"error": error, "took_s": max(0.0, now_s - order.attempts[-1].at)}
        lost = order.attempts[-1].model_copy(update=update)
        log = f"delivery attempt {number + 1}: {error}"
        self._store.note(claim, attempt=(number, _fields(lost)), log=log)
        return lost

    def _ask_again(self, order: Order, claim: Claim, waited_s: float) -> tuple[TaskMessage, ...]:
        """Schedule another question: the destination may still be processing what was sent."""
        remaining_s = self._settings.unknown_patience_s - waited_s
        delay_s = min(self._asking_delay_s(waited_s), remaining_s)
        log = (
            f"asked whether delivery attempt {len(order.attempts)} arrived: not yet; "
            f"asked again in {delay_s:.0f} s, sent again after {remaining_s:.0f} s"
        )
        self._store.note(claim, log=log)
        return self._store.give_back(claim, delay_s=delay_s)

    def _asking_delay_s(self, waited_s: float) -> float:
        """Return the pause before the next question: as long as was waited already, within bounds.

        A late commit is then noticed soon, and a dead attempt costs a handful of questions.
        """
        longest_s = self._settings.unknown_patience_s / _ASKED_AT_LEAST
        return min(max(waited_s, self._settings.first_retry_s), longest_s)

    def _record_as_not_arrived(
        self, order: Order, claim: Claim, last: Attempt
    ) -> tuple[TaskMessage, ...] | None:
        """Record that the last attempt did not arrive.

        Return the task messages if the order ends by that, None if it is to be sent again.
        """
        number = len(order.attempts) - 1
        outcome = "missing"
        if last.status is not None and 200 <= last.status < 300:
            outcome = "untrue"
        log = f"delivery attempt {number + 1}: {outcome}: the destination does not have the results"
        attempt = _fields(last) | {"outcome": outcome}
        self._store.note(claim, attempt=(number, attempt), log=log)
        if order.cancel:
            return self._store.finish(claim, "cancelled", problem=problems.cancelled())
        if outcome == "untrue":
            return self._end_after_untrue_answers(order, claim)
        return None

    def _end_after_untrue_answers(
        self, order: Order, claim: Claim
    ) -> tuple[TaskMessage, ...] | None:
        """Return the task messages once the destination said yes too often untruly, else None."""
        at_this_destination = order.attempts[order.attempts_before :]
        untrue = 1 + sum(attempt.outcome == "untrue" for attempt in at_this_destination)
        if untrue < self._settings.untrue_attempts:
            return None
        problem = problems.answer_untrue(order.attempts[-1], untrue)
        return self._store.finish(claim, "undelivered", problem=problem)

    def _send(
        self,
        order: Order,
        claim: Claim,
        lease: Lease,
        destination: Destination,
        record: PayloadRecord,
    ) -> tuple[TaskMessage, ...]:
        number = len(order.attempts)
        digest = record["digest"]
        with self._payloads.local_copy(record) as payload:
            lease.confirm()
            sending = {"digest": digest, "outcome": "unknown", "error": NO_ANSWER_YET}
            self._store.note(claim, {"resend": 0}, attempt=(number, sending))
            began_at = time.monotonic()
            receipt = destination.post(payload, lease.check_held)
            took_s = time.monotonic() - began_at
        self._breakers.record(destination.host, receipt)
        fields = _attempt_fields(digest, receipt, took_s)
        if receipt.outcome == "accepted":
            fields |= _follow_up_field(order, destination)
        attempt = (number, fields)
        log = _log_line(number, receipt)
        lease.retry_write(self._store.note, claim, attempt=attempt, log=log)
        if receipt.outcome == "accepted":
            return self._end_as_delivered(order, claim, lease, destination, attempt)
        if receipt.outcome == "refused":
            return self._store.finish(claim, "undelivered", problem=problems.refused(receipt))
        return self._store.give_back(claim, delay_s=self._delay_s(number, receipt))

    def _delay_s(self, number: int, receipt: Receipt) -> float:
        """Return how long to wait before the next attempt, or the first question after this one."""
        if receipt.outcome == "unknown":
            return self._asking_delay_s(0)
        if receipt.retry_after_s is not None:
            return receipt.retry_after_s
        return backoff_s(self._settings.first_retry_s, self._settings.max_retry_s, number)


def _fields(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as it is written; Redis keeps when it was made.

    Without an empty list of warnings, which Redis' JSON would write as an object.
    """
    if attempt.warnings:
        return attempt.model_dump(exclude={"at"})
    return attempt.model_dump(exclude={"at", "warnings"})


def _attempt_fields(digest: str, receipt: Receipt, took_s: float) -> dict[str, Any]:
    return {
        "digest": digest,
        "status": receipt.status,
        "outcome": receipt.outcome,
        "error": receipt.detail,
        "took_s": round(took_s, 3),
        "remote_id": receipt.remote_id,
    }


def _follow_up_field(order: Order, destination: Destination) -> dict[str, Any]:
    """Return the field by which a lost courier's successor knows that something is to follow."""
    if isinstance(destination, Techcyte) and follows(order, destination):
        return {"follow_up": True}
    return {}


def _log_line(number: int, receipt: Receipt) -> str:
    line = f"delivery attempt {number + 1}: {receipt.outcome}"
    if receipt.status:
        line += f" ({receipt.status})"
    if receipt.detail:
        line += f": {receipt.detail}"
    if receipt.outcome == "unknown":
        line += "; asking whether it arrived"
    return line
