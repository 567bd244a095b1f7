"""Deliver the results of an order exactly once.

The payload is stored before it is sent, every attempt is recorded before it is made, and after a
lost answer the destination is asked before anything is sent again.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from broker.errors import Problem
from broker.file_storage.interface import PAYLOADS, Storage, unreachable
from broker.order_store import PAYLOAD_FIELD, Claim, OrderStore, TaskMessage
from broker.orders.order import Order
from broker.orders.result_files import FINDINGS
from broker.settings.config import DeliverySettings
from worker.backoff import backoff_s
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.destination import Destination, create_destination
from worker.delivery.payload import Payload, Receipt
from worker.disk import sync_file, sync_folder
from worker.process.lease import Lease
from worker.results import result_folder

NO_ANSWER_YET = "sent; no answer yet"
"""The `error` of an attempt on record whose outcome was not written down yet."""
PayloadRecord = Mapping[str, Any]
"""`file`, `digest`, `bytes` and `content_type` of a stored payload, as the order records them."""


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
        self._storage = storage
        self._session = session
        self._breakers = breakers
        self._settings = settings

    def attempt(self, order: Order, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
        """Deliver the order, or find that it was delivered, or schedule another attempt.

        Return the task messages to enqueue. Raise `StopWork` or `LeaseLostError` if the work is no
        longer ours, `OrderError` if the results cannot be sent, and `TemporaryError` if the
        destination or the storage cannot be reached.
        """
        destination = create_destination(
            order.id, order.request.destination, self._session, self._settings
        )
        record = self._stored_payload(order, claim, lease, destination)
        with self._breakers.acquire(destination.host):
            if order.last_attempt:
                messages = self._end_without_sending(order, claim, destination)
                if messages is not None:
                    return messages
            return self._send(order, claim, lease, destination, record)

    def _end_without_sending(
        self, order: Order, claim: Claim, destination: Destination
    ) -> tuple[TaskMessage, ...] | None:
        """Return the task messages if an earlier attempt forbids another one now, else None."""
        received = self._has_received(order, destination)
        if received:
            self._store.note(claim, log="the destination has the results already")
            return self._store.finish(claim, "delivered")
        if received is None:
            if self._may_have_arrived(order) and self._must_not_repeat(order):
                return self._store.finish(claim, "undelivered", problem=_delivery_unknown())
            return None
        if order.attempts[-1].error == NO_ANSWER_YET:
            return self._wait_for_lost_attempt(order, claim)
        if order.cancel:
            return self._store.finish(claim, "cancelled", problem=_cancelled())
        return None

    def _has_received(self, order: Order, destination: Destination) -> bool | None:
        """Return whether an earlier attempt arrived; None if the destination cannot say."""
        if order.attempts[-1].outcome == "accepted":
            return True
        return destination.has_received(order.id)

    def _may_have_arrived(self, order: Order) -> bool:
        return order.attempts[-1].outcome == "unknown" and not order.resend

    def _must_not_repeat(self, order: Order) -> bool:
        return bool(order.cancel) or self._settings.on_unknown == "stop"

    def _wait_for_lost_attempt(self, order: Order, claim: Claim) -> tuple[TaskMessage, ...]:
        """Record that the last attempt's courier was lost, and give its results time to arrive.

        The destination may still be processing them, so its "no" counts only after this wait.
        """
        number = len(order.attempts) - 1
        error = "the courier was lost before the answer came"
        attempt = {"digest": order.attempts[-1].digest, "outcome": "unknown", "error": error}
        log = f"delivery attempt {number + 1}: {error}"
        self._store.note(claim, attempt=(number, attempt), log=log)
        return self._store.give_back(claim, delay_s=self._settings.read_timeout_s)

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
        with self._local_payload(record) as payload:
            lease.confirm()
            sending = {"digest": digest, "outcome": "unknown", "error": NO_ANSWER_YET}
            self._store.note(claim, {"resend": 0}, attempt=(number, sending))
            receipt = destination.post(payload, lease.check_held)
        self._breakers.record(destination.host, receipt)
        attempt = (number, _attempt_fields(digest, receipt))
        log = _log_line(number, receipt)
        lease.retry_write(self._store.note, claim, attempt=attempt, log=log)
        if receipt.outcome == "accepted":
            return self._store.finish(claim, "delivered")
        if receipt.outcome == "refused":
            return self._store.finish(claim, "undelivered", problem=_refused(receipt))
        return self._store.give_back(claim, delay_s=self._delay_s(number, receipt))

    @contextmanager
    def _local_payload(self, record: PayloadRecord) -> Iterator[Payload]:
        """Provide the payload on this machine's disk, with exactly the bytes that were recorded.

        Raise `TemporaryError` if the storage returns other bytes.
        """
        with self._storage.local_copy(record["file"]) as path:
            if _sha256(path) != record["digest"]:
                raise unreachable(
                    "the payload is not the one that was kept", "put it back, or cancel the order"
                )
            yield Payload(record["content_type"], path)

    def _stored_payload(
        self, order: Order, claim: Claim, lease: Lease, destination: Destination
    ) -> PayloadRecord:
        """Return the record of the stored payload, building and storing it the first time."""
        if order.payload and self._storage.find(order.payload["file"]):
            return order.payload
        folder = self._storage.folder / PAYLOADS
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(
            prefix=f".{order.id}.", dir=folder, ignore_cleanup_errors=True
        ) as temporary:
            payload = self._build_payload(order, destination, Path(temporary) / "payload")
            digest = _sha256(payload.path)
            size_bytes = payload.path.stat().st_size
            key = f"{PAYLOADS}/{order.id}.{digest[:16]}"
            _sync_and_move(payload.path, self._storage.folder / key)
        self._storage.share(key, lease.check_held_while_copying)
        record = {
            "file": key,
            "digest": digest,
            "bytes": size_bytes,
            "content_type": payload.content_type,
        }
        self._store.note(
            claim, {PAYLOAD_FIELD: record}, log=f"payload of {size_bytes} bytes stored"
        )
        return record

    def _build_payload(self, order: Order, destination: Destination, path: Path) -> Payload:
        with ExitStack() as folders:
            results = []
            for scan in order.scans:
                key = f"{scan.result}/{FINDINGS}"
                findings = folders.enter_context(self._storage.local_copy(key))
                results.append(result_folder.load(findings.parent))
            return destination.build_payload(results, path)

    def _delay_s(self, number: int, receipt: Receipt) -> float:
        """Return how long to wait before the next attempt: exponential, with jitter."""
        if receipt.retry_after_s is not None:
            return receipt.retry_after_s
        delay_s = backoff_s(self._settings.first_retry_s, self._settings.max_retry_s, number)
        if receipt.outcome == "unknown":
            # What was sent may still be processed: the destination's "no" counts only after that.
            return max(delay_s, self._settings.read_timeout_s)
        return delay_s


def _sync_and_move(source: Path, target: Path) -> None:
    """Move the file so that it is complete at `target` even after a power cut."""
    sync_file(source)
    source.replace(target)
    sync_folder(target.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _attempt_fields(digest: str, receipt: Receipt) -> dict[str, Any]:
    return {
        "digest": digest,
        "status": receipt.status,
        "outcome": receipt.outcome,
        "error": receipt.detail,
        "remote_id": receipt.remote_id,
    }


def _log_line(number: int, receipt: Receipt) -> str:
    line = f"delivery attempt {number + 1}: {receipt.outcome}"
    if receipt.status:
        line += f" ({receipt.status})"
    if receipt.detail:
        line += f": {receipt.detail}"
    return line


def _refused(receipt: Receipt) -> Problem:
    return Problem(
        "destination_refused",
        receipt.detail or f"answered {receipt.status}",
        "the results are kept; GET the order's payload to see what was sent",
    )


def _cancelled() -> Problem:
    detail = "cancelled; the destination says that nothing arrived"
    return Problem("cancelled", detail)


def _delivery_unknown() -> Problem:
    return Problem(
        "delivery_unknown",
        "the results were sent, no answer came, and this destination cannot be asked",
        "look there; worker.deliver.on_unknown = repeat would send again and risk a double",
    )
