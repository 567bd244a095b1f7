"""The destination `none`: the results stay where they are kept, for pick-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.delivery.http_exchange import Check, always
from worker.delivery.payload import Payload, Receipt
from worker.results import results_json as documents
from worker.results.json_text import strict_json
from worker.results.result import Result


@dataclass(frozen=True)
class NoDelivery:
    """Nothing is sent."""

    order_id: str

    @property
    def host(self) -> str:
        """Nobody."""
        return ""

    def pack(self, results: Sequence[Result], path: Path) -> Payload:
        """What there is to pick up: the results.json of every scan, in one document."""
        scans = [documents.document(result) for result in results]
        path.write_bytes(strict_json({"order": self.order_id, "scans": scans}))
        return Payload("application/json", path)

    def arrived(self, order_id: str) -> bool:  # noqa: ARG002 - every destination is asked in the same words
        """No: there is nowhere to arrive."""
        return False

    def post(self, parcel: Payload, check: Check = always) -> Receipt:  # noqa: ARG002 - nothing is sent
        """Done at once."""
        return Receipt("accepted")
