"""A zip for whoever looks for a fault: what is kept of an order, within a bound."""

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.orders.order import Order
from broker.orders.result_files import DEBUG_ZIP, OUTPUT_LOG, OVERLAY, RESULTS_JSON

LEFT_OUT: Final = "left-out.txt"
ORDER_LOG: Final = "order.log"
FILES: Final = (RESULTS_JSON, OUTPUT_LOG, OVERLAY, DEBUG_ZIP)
"""What there is of each scan, the most telling first."""
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The time that is stated of every file, so that the same content is the same zip."""


class DebugFile:
    """A zip that is written file by file. What does not fit is named in it instead."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._left_bytes = max_bytes
        self._left_out: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._left_out:
            lines = ["larger than what was left of worker.deliver.techcyte.debug_max_bytes:"]
            self._zip.writestr(_member(LEFT_OUT), "\n".join([*lines, *self._left_out]) + "\n")
        self._zip.close()

    def may_hold(self, name: str, size_bytes: int) -> bool:
        """Return whether a file of this size fits; one that does not is named as left out."""
        if size_bytes <= self._left_bytes:
            self._left_bytes -= size_bytes
            return True
        self._left_out.append(f"{name} ({size_bytes:,} bytes)")
        return False

    def add_text(self, name: str, text: str) -> None:
        """Add a text."""
        content = text.encode()
        if self.may_hold(name, len(content)):
            self._zip.writestr(_member(name), content)

    def add_file(self, name: str, path: Path) -> None:
        """Add a file of this machine for which `may_hold` said yes."""
        with path.open("rb") as source, self._zip.open(_member(name), "w") as target:
            while piece := source.read(2**20):
                target.write(piece)


def write_of_order(
    path: Path, order: Order, store: OrderStore, storage: Storage, max_bytes: int
) -> None:
    """Write the order's log, and results, printed lines and overlay of each of its scans.

    None of these holds a secret of the order. Raise `TemporaryError` where the storage fails.
    """
    with DebugFile(path, max_bytes) as debug:
        debug.add_text(ORDER_LOG, log_text(store.log(order.id)))
        for scan in order.scans:
            if not scan.result:
                debug.add_text(f"{scan.id}/error.json", json.dumps(scan.error, indent=2))
                continue
            for name in FILES:
                found = storage.find(f"{scan.result}/{name}")
                if found is None or not debug.may_hold(f"{scan.id}/{name}", found.size_bytes):
                    continue
                with storage.local_copy(f"{scan.result}/{name}") as copy:
                    debug.add_file(f"{scan.id}/{name}", copy)


def log_text(lines: list[dict[str, Any]]) -> str:
    """Return the lines of a log, each with its time in UTC."""
    texts = []
    for line in lines:
        at = datetime.fromtimestamp(float(line["at"]), UTC).isoformat(timespec="milliseconds")
        texts.append(f"{at} {line['text']}\n")
    return "".join(texts)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _EARLIEST)
    member.compress_type = zipfile.ZIP_DEFLATED
    return member
