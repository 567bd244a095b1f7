"""Delivering once: the parcel is kept before it is sent, every attempt is recorded before it is made, and after a lost
answer the destination is asked before anything is sent again.
"""

import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from broker.errors import Problem
from broker.file_storage.interface import PAYLOADS, unreachable
from broker.order_store import Claim, TaskMessage
from broker.orders import result_files
from broker.orders.order import Order
from worker.context import WorkerContext
from worker.delivery.destination import Destination, destination
from worker.delivery.payload import Payload, Receipt
from worker.disk import sync_folder
from worker.process.lease import Lease
from worker.results import result_folder

ON_ITS_WAY = "sent; no answer yet"
Kept = Mapping[str, Any]


def attempt(
    here: WorkerContext, order: Order, claim: Claim, lease: Lease
) -> tuple[TaskMessage, ...]:
    """Deliver, or find out that it was delivered, or say when to try again."""
    to = destination(order.id, order.request.destination, here.http, here.config.worker.deliver)
    parcel = _kept_parcel(here, order, claim, lease, to)
    with here.circuits.through(to.host):
        return _ask_or_send(here, order, claim, lease, to, parcel)


def _ask_or_send(
    here: WorkerContext, order: Order, claim: Claim, lease: Lease, to: Destination, parcel: Kept
) -> tuple[TaskMessage, ...]:
    if order.attempts:
        last = order.attempts[-1]
        arrived = last.outcome == "accepted" or to.arrived(order.id)
        if arrived:
            here.store.note(claim, log="the destination has the results already")
            return here.store.finish(claim, "delivered")
        if arrived is False and last.error == ON_ITS_WAY:
            return _let_settle(here, order, claim)
        stop = order.cancel or here.config.worker.deliver.on_unknown == "stop"
        if arrived is None and stop and _may_have_arrived(order):
            return here.store.finish(claim, "undelivered", problem=_nobody_knows())
        if arrived is False and order.cancel:
            cancelled = Problem(
                "cancelled", "cancelled; the destination says that nothing arrived", blame="input"
            )
            return here.store.finish(claim, "cancelled", problem=cancelled)
    return _send(here, order, claim, lease, to, parcel)


def _may_have_arrived(order: Order) -> bool:
    return order.attempts[-1].outcome == "unknown" and not order.resend


def _send(
    here: WorkerContext, order: Order, claim: Claim, lease: Lease, to: Destination, parcel: Kept
) -> tuple[TaskMessage, ...]:
    number, digest = len(order.attempts), parcel["digest"]
    with _near(here, parcel) as whole:
        lease.confirm()
        sent = {"digest": digest, "outcome": "unknown", "error": ON_ITS_WAY}
        here.store.note(claim, {"resend": 0}, attempt=(number, sent))
        receipt = to.post(whole, lease.check_held)
    here.circuits.hear(to.host, receipt)
    told = (number, {"digest": digest, **_told(receipt)})
    lease.insist(lambda: here.store.note(claim, attempt=told, log=_line(number, receipt)))
    if receipt.outcome == "accepted":
        return here.store.finish(claim, "delivered")
    if receipt.outcome == "refused":
        return here.store.finish(claim, "undelivered", problem=_refused(receipt))
    return here.store.give_back(claim, delay_s=_delay_s(here, number, receipt))


@contextmanager
def _near(here: WorkerContext, parcel: Kept) -> Iterator[Payload]:
    """The parcel on this machine's disk. What is sent is what was recorded, whatever the storage gives back."""
    with here.storage.local_copy(parcel["file"]) as path:
        whole = Payload(parcel["content_type"], path)
        if _digest(whole) != parcel["digest"]:
            raise unreachable(
                "the parcel is not the one that was kept", "put it back, or cancel the order"
            )
        yield whole


def _let_settle(here: WorkerContext, order: Order, claim: Claim) -> tuple[TaskMessage, ...]:
    """Its courier was lost in the middle of the attempt. What it sent may still be worked on, so a no counts later."""
    number, last = len(order.attempts) - 1, order.attempts[-1]
    told = {
        "digest": last.digest,
        "outcome": "unknown",
        "error": "the courier was lost before the answer came",
    }
    here.store.note(
        claim, attempt=(number, told), log=f"delivery attempt {number + 1}: {told['error']}"
    )
    return here.store.give_back(claim, delay_s=here.config.worker.deliver.read_timeout_s)


def _kept_parcel(
    here: WorkerContext, order: Order, claim: Claim, lease: Lease, to: Destination
) -> Kept:
    """What the record says of the parcel; it is made from the kept results, and put there, the first time."""
    if order.payload and here.storage.find(order.payload["file"]):
        return order.payload
    folder = here.storage.folder / PAYLOADS
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=f".{order.id}.", dir=folder, ignore_cleanup_errors=True
    ) as beside:
        made = _packed(here, order, to, Path(beside) / "parcel")
        digest, size_bytes = _digest(made), made.path.stat().st_size
        file = f"{PAYLOADS}/{order.id}.{digest[:16]}"
        _move_whole(made.path, here.storage.folder / file)
    here.storage.share(file, lambda _done, _total: lease.check_held())
    told = {"file": file, "digest": digest, "bytes": size_bytes, "content_type": made.content_type}
    here.store.note(claim, {"parcel": told}, log=f"parcel of {size_bytes} bytes kept")
    return told


def _packed(here: WorkerContext, order: Order, to: Destination, path: Path) -> Payload:
    with ExitStack() as near:
        findings = [
            near.enter_context(here.storage.local_copy(f"{scan.result}/{result_files.FINDINGS}"))
            for scan in order.scans
        ]
        return to.pack([result_folder.load(folder.parent) for folder in findings], path)


def _move_whole(made: Path, to: Path) -> None:
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.replace(to)
    sync_folder(to.parent)


def _digest(parcel: Payload) -> str:
    with parcel.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _told(receipt: Receipt) -> dict[str, Any]:
    return {
        "status": receipt.status,
        "outcome": receipt.outcome,
        "error": receipt.detail,
        "remote_id": receipt.remote_id,
    }


def _line(number: int, receipt: Receipt) -> str:
    status = f" ({receipt.status})" if receipt.status else ""
    return f"delivery attempt {number + 1}: {receipt.outcome}{status}" + (
        f": {receipt.detail}" if receipt.detail else ""
    )


def _delay_s(here: WorkerContext, number: int, receipt: Receipt) -> float:
    settings = here.config.worker.deliver
    if receipt.retry_after_s is not None:
        return receipt.retry_after_s
    longest_s = min(settings.max_retry_s, settings.first_retry_s * 2.0 ** min(number, 30))
    delay_s = longest_s * random.uniform(0.5, 1)  # noqa: S311 - jitter
    # what was sent may still be worked on: a no of the destination counts only when that is over
    return max(delay_s, settings.read_timeout_s) if receipt.outcome == "unknown" else delay_s


def _refused(receipt: Receipt) -> Problem:
    hint = "the results are kept; GET the order's payload to see what was sent"
    return Problem(
        "destination_refused",
        receipt.detail or f"answered {receipt.status}",
        hint,
        blame="destination",
    )


def _nobody_knows() -> Problem:
    return Problem(
        "delivery_unknown",
        "the results were sent, no answer came, and this destination cannot be asked",
        "look there; worker.deliver.on_unknown = repeat would send again and risk a double",
        blame="destination",
    )
