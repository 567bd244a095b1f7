"""The payload of an order: built and stored once, and the same bytes for every attempt."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from broker.file_storage.interface import PAYLOADS, Storage, unreachable
from broker.order_store import PAYLOAD_FIELD, Claim, OrderStore
from broker.orders.order import Order
from broker.orders.result_files import FINDINGS, POSTED
from worker.delivery.destination import Destination
from worker.delivery.payload import Payload
from worker.disk import sync_file, sync_folder
from worker.process.lease import Lease
from worker.results import result_folder
from worker.results.result import FailedScan

PayloadRecord = Mapping[str, Any]
"""`file`, `digest`, `bytes` and `content_type` of a stored payload, as the order records them."""


class StoredPayloads:
    """Stores the payloads of orders; threads share it."""

    def __init__(self, store: OrderStore, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    def stored(
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

    @contextmanager
    def local_copy(self, record: PayloadRecord) -> Iterator[Payload]:
        """Provide the payload on this machine's disk, with exactly the bytes that were recorded.

        Raise `TemporaryError` if the storage returns other bytes.
        """
        with self._storage.local_copy(record["file"]) as path:
            if _sha256(path) != record["digest"]:
                raise unreachable(
                    "the payload is not the one that was kept", "put it back, or cancel the order"
                )
            yield Payload(record["content_type"], path)

    def _build_payload(self, order: Order, destination: Destination, path: Path) -> Payload:
        with ExitStack() as folders:
            results = []
            for scan in order.scans:
                if not scan.result:
                    continue  # it failed, and the order wants the rest delivered
                key = f"{scan.result}/{FINDINGS}"
                findings = folders.enter_context(self._storage.local_copy(key))
                result = result_folder.load(findings.parent)
                if POSTED in scan.files:
                    posted = self._storage.local_copy(f"{scan.result}/{POSTED}")
                    result = replace(result, posted=folders.enter_context(posted))
                results.append(result)
            return destination.build_payload(results, path, _failed_scans(order))


def _failed_scans(order: Order) -> list[FailedScan]:
    """Return the scans without a result, with the reason that their error states."""
    failed = []
    for scan in order.scans:
        if not scan.result:
            error = scan.error or {}
            failed.append(
                FailedScan(scan.id, str(error.get("code", "")), str(error.get("detail", "")))
            )
    return failed


def _sync_and_move(source: Path, target: Path) -> None:
    """Move the file so that it is complete at `target` even after a power cut."""
    sync_file(source)
    source.replace(target)
    sync_folder(target.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
