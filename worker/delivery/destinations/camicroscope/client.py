"""caMicroscope 3 as a destination: marks or a heat map of one slide, in parts.

A part whose answer was lost is looked for before anything is sent again, and of a part that was
stored by halves only the rest is sent. So an attempt after a fault goes on where the last one
stopped. What is sent is made in `parts.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import requests

from broker.errors import OrderError, TemporaryError
from broker.orders.destinations import CaMicroscopeDestination
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.camicroscope import parts
from worker.delivery.destinations.camicroscope.data_api import DataApi, object_id
from worker.delivery.destinations.camicroscope.parts import Collection, Part
from worker.delivery.http_exchange import SendCheck, UnansweredError, send_always
from worker.delivery.payload import Payload, Receipt
from worker.results.result import FailedScan, Result

_COLLECTIONS: Final[tuple[Collection, ...]] = ("Mark", "Heatmap")
_ALL_STORED: Final = Receipt("accepted", 200)


@dataclass(frozen=True)
class CaMicroscope:
    """One slide of one caMicroscope as the destination of one order."""

    order_id: str
    request: CaMicroscopeDestination
    session: requests.Session
    settings: DeliverySettings

    is_repeatable: ClassVar[bool] = False

    @property
    def host(self) -> str:
        """Return host and port of the site."""
        return urlsplit(self._api.root).netloc.rpartition("@")[2]

    @property
    def execution_id(self) -> str:
        """Return the name of the run, by which the viewer groups marks into a layer."""
        return self.request.execution_id or f"slidelane:{self.order_id}"

    def build_payload(
        self,
        results: Sequence[Result],
        path: Path,
        failed: Sequence[FailedScan] = (),  # noqa: ARG002 - the viewer has no place for them
    ) -> Payload:
        """Write a line of JSON for each request. Raise `OrderError` for scans of several slides.

        They are told by their sizes. The digest of a slide would not do: of a slide that is read
        region by region, each region has its own.
        """
        sizes = {(one.findings.frame.width, one.findings.frame.height) for one in results}
        if len(sizes) > 1:
            raise OrderError(
                "parcel_invalid",
                f"the scans are of slides of {len(sizes)} sizes, and the destination names one",
                hint="place an order for each slide, or have the results delivered elsewhere",
                blame="input",
            )
        with path.open("wb") as file:
            parts.write(results, self.order_id, self.request.slide, self.execution_id, file)
        return Payload("application/x-ndjson", path)

    def has_received(self, order_id: str) -> bool | None:
        """Return whether the last document of the order is stored: it is sent after all others.

        Return None if the site does not say, for lack of the right to read. Raise `TemporaryError`
        if it cannot be asked now.
        """
        wanted = {"slidelane.order": order_id, "slidelane.last": "yes"}
        try:
            return any(self._find(collection, wanted) for collection in _COLLECTIONS)
        except UnansweredError as error:
            receipt = error.receipt
            if receipt.outcome == "refused":
                return None
            raise TemporaryError(
                "destination_unreachable", receipt.detail, retry_after_s=receipt.retry_after_s
            ) from None

    def post(self, payload: Payload, check: SendCheck = send_always) -> Receipt:
        """Store what is not stored yet, part by part, and return the outcome."""
        try:
            if self.request.replace:
                receipt = self._delete_earlier_runs(check)
                if receipt.outcome != "accepted":
                    return receipt
            return self._store(payload, check)
        except UnansweredError as error:
            return error.receipt

    def _store(self, payload: Payload, check: SendCheck) -> Receipt:
        """Send the parts in order, each after the one before is known to be stored.

        So no part behind one of which nothing is stored can be there, and none is looked for.
        """
        is_new = False
        for part in parts.read(payload.path):
            documents: Sequence[dict[str, Any]] = part.documents
            if not is_new:
                documents = self._missing(part)
                is_new = len(documents) == len(part.documents)
            if not documents:
                continue
            check()
            receipt = self._api.add(part.collection, documents, check)
            if receipt.outcome != "accepted":
                return receipt
        return _ALL_STORED

    def _missing(self, part: Part) -> list[dict[str, Any]]:
        """Return the documents of the part that are not stored. Raise `UnansweredError`."""
        stored = self._find(part.collection, {"slidelane.part": part.name})
        numbers = {_number(document) for document in stored}
        return [document for document in part.documents if _number(document) not in numbers]

    def _delete_earlier_runs(self, check: SendCheck) -> Receipt:
        """Delete what other orders of ours stored for this slide with the same name of the run.

        Return `accepted` once nothing of them is left. Raise `UnansweredError`.
        """
        for collection in _COLLECTIONS:
            for order_id in self._earlier_orders(collection):
                receipt = self._delete_order(collection, order_id, check)
                if receipt.outcome != "accepted":
                    return receipt
            left = self._earlier_orders(collection)
            if left:
                detail = f"{len(left)} earlier runs are not deleted yet"
                return Receipt("later", detail=detail)
        return _ALL_STORED

    def _earlier_orders(self, collection: Collection) -> list[str]:
        first = self._find(collection, {"slidelane.first": "yes"})
        orders = {str(document["slidelane"].get("order", "")) for document in first}
        return sorted(orders - {self.order_id, ""})

    def _delete_order(self, collection: Collection, order_id: str, check: SendCheck) -> Receipt:
        """Delete the documents of one order, the first one last.

        It is by that one that the order is found, also after this was interrupted. For the same
        reason the last part goes first: parts are counted from the first on until one is missing.
        """
        ids: list[str] = []
        number = 0
        while documents := self._of_part(collection, order_id, number):
            documents.sort(key=_number)
            ids += [object_id(document) for document in documents]
            number += 1
        for one in reversed(ids):
            check()
            receipt = self._api.delete(collection, one)
            if receipt.outcome != "accepted":
                return receipt
        return _ALL_STORED

    def _of_part(self, collection: Collection, order_id: str, number: int) -> list[dict[str, Any]]:
        return self._find(collection, {"slidelane.part": parts.part_name(order_id, number)})

    def _find(self, collection: Collection, wanted: dict[str, str]) -> list[dict[str, Any]]:
        """Return documents of this run and slide."""
        of_this_run = {
            "provenance.analysis.execution_id": self.execution_id,
            "provenance.image.slide": self.request.slide,
        }
        return self._api.find(collection, of_this_run | wanted)

    @property
    def _api(self) -> DataApi:
        token = ""
        if self.request.token:
            token = self.request.token.get_secret_value()
        root = self.request.url.get_secret_value()
        return DataApi(root, token, self.session, self.settings)


def _number(document: dict[str, Any]) -> int:
    number = document["slidelane"].get("number")
    if not isinstance(number, int):
        return -1
    return number
