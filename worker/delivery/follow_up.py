"""What follows results at Techcyte once it has them: the triage of the case, and a debug file.

Neither is done before the results stand, neither undoes them, and both may be repeated: after a
lost courier the next one does both again.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from broker.errors import TemporaryError
from broker.file_storage.interface import PAYLOADS, Storage
from broker.order_store import OrderStore
from broker.orders.order import Order, ScanWarning
from broker.settings.config import DeliverySettings
from worker.backoff import backoff_s
from worker.delivery import debug_file
from worker.delivery.destinations.techcyte.client import Techcyte
from worker.delivery.destinations.techcyte.triage import STATED
from worker.delivery.payload import Receipt
from worker.process.lease import Lease

TRIES: Final = 3
_LONGEST_PAUSE_S: Final = 10.0
TRIAGE_NOT_SET: Final = "triage_not_set"
DEBUG_FILE_NOT_UPLOADED: Final = "debug_file_not_uploaded"


def follows(order: Order, destination: Techcyte) -> bool:
    """Return whether anything is to follow the results of the order."""
    request = destination.request
    if request.triage is not None or request.debug_file_upload_url is not None:
        return True
    return any(STATED in scan.summary for scan in order.scans)


class FollowUp:
    """Does what follows the results of orders; threads share it."""

    def __init__(self, store: OrderStore, storage: Storage, settings: DeliverySettings) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings

    def run(self, order: Order, lease: Lease, destination: Techcyte) -> tuple[ScanWarning, ...]:
        """Do what the destination of the order wants; return what did not succeed, as warnings.

        Raise `StopWork` where the work is no longer ours. A cancelled order is not stopped here:
        its results have arrived.
        """
        warnings = []
        lease.check_held()
        receipt = self._set_triage(order, lease, destination)
        if receipt.outcome != "accepted":
            warnings.append(warning(TRIAGE_NOT_SET, receipt))
        if destination.request.debug_file_upload_url is not None:
            receipt = self._put_debug_file(order, lease, destination)
            if receipt.outcome != "accepted":
                warnings.append(warning(DEBUG_FILE_NOT_UPLOADED, receipt))
        return tuple(warnings)

    def _set_triage(self, order: Order, lease: Lease, destination: Techcyte) -> Receipt:
        summaries = [scan.summary for scan in order.scans if scan.result]
        receipt = destination.set_triage(summaries)
        tries = 1
        while self._may_try_again(receipt, tries, lease):
            receipt = destination.set_triage(summaries)
            tries += 1
        return receipt

    def _put_debug_file(self, order: Order, lease: Lease, destination: Techcyte) -> Receipt:
        folder = self._storage.folder / PAYLOADS
        folder.mkdir(parents=True, exist_ok=True)
        max_bytes = self._settings.techcyte.debug_max_bytes
        with TemporaryDirectory(
            prefix=f".{order.id}.", dir=folder, ignore_cleanup_errors=True
        ) as temporary:
            file = Path(temporary) / "debug.zip"
            try:
                debug_file.write_of_order(file, order, self._store, self._storage, max_bytes)
            except (TemporaryError, OSError) as error:
                why = f"it could not be made ({type(error).__name__})"
                return Receipt("refused", detail=why)
            lease.check_held()
            receipt = destination.put_debug_file(file)
            tries = 1
            while self._may_try_again(receipt, tries, lease):
                receipt = destination.put_debug_file(file)
                tries += 1
            return receipt

    def _may_try_again(self, last: Receipt, tries: int, lease: Lease) -> bool:
        """Return whether another try is due, after the pause that the last answer asks for.

        Raise `StopWork` where the work is no longer ours.
        """
        if last.outcome in ("accepted", "refused") or tries == TRIES:
            return False
        time.sleep(pause_s(self._settings, tries, last))
        lease.check_held()
        return True


def pause_s(settings: DeliverySettings, number: int, last: Receipt) -> float:
    """Return the pause before try `number`, counted from 0, of something that follows results."""
    if last.retry_after_s is not None:
        return min(last.retry_after_s, _LONGEST_PAUSE_S)
    return backoff_s(settings.first_retry_s, _LONGEST_PAUSE_S, number - 1)


def warning(code: str, receipt: Receipt) -> ScanWarning:
    """Return the warning of what did not succeed."""
    detail = receipt.detail or f"answered {receipt.status}"
    return ScanWarning(code=code, detail=f"the results were taken; {detail}")
