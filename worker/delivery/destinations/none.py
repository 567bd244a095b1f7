"""The destination `none`: nothing is sent, the results stay in storage to be fetched."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from worker.delivery.http_exchange import SendCheck, send_always
from worker.delivery.payload import Payload, Receipt
from worker.results.files import results_json
from worker.results.json_text import strict_json
from worker.results.result import FailedScan, Result


@dataclass(frozen=True)
class NoDestination:
    """A destination that accepts at once and sends nothing."""

    order_id: str

    is_repeatable: ClassVar[bool] = True

    @property
    def host(self) -> str:
        """Return an empty name: no host is contacted."""
        return ""

    def build_payload(
        self, results: Sequence[Result], path: Path, failed: Sequence[FailedScan] = ()
    ) -> Payload:
        """Write one JSON document with the results.json of every scan."""
        scans = [results_json.document(result) for result in results]
        document: dict[str, Any] = {"order": self.order_id, "scans": scans}
        if failed:
            document["failed_scans"] = [asdict(scan) for scan in failed]
        path.write_bytes(strict_json(document))
        return Payload("application/json", path)

    def has_received(self, order_id: str) -> bool:  # noqa: ARG002 - the signature of Destination
        """Return False: nothing is ever sent."""
        return False

    def post(
        self,
        payload: Payload,  # noqa: ARG002 - the signature of Destination
        check: SendCheck = send_always,  # noqa: ARG002 - the signature of Destination
    ) -> Receipt:
        """Return `accepted` without sending anything."""
        return Receipt("accepted")
