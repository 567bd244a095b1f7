"""Routes to download results: the files of a scan, and the payload for the destination."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import FileResponse, Response

from broker.errors import Blame, OrderError, Problem
from broker.file_storage.interface import Storage
from broker.orders.order import ENDED, Order, OrderState, Scan, ScanState
from broker.orders.result_files import (
    ARCHIVE,
    FINDINGS_JSON,
    FINDINGS_PMTILES,
    MEDIA_TYPES,
    OPTIONAL,
    OWN_FILES,
    own_files,
)
from services.dependencies import ResultStorage, Store, may_read
from services.responses import byte_ranges, results_zip
from services.responses.results_zip import ResultsZip, ZippedFile

router = APIRouter(
    prefix="/v1/orders/{order_id}", tags=["results"], dependencies=[Depends(may_read)]
)
NAMES = ", ".join((*MEDIA_TYPES, ARCHIVE))
OWN_MEDIA_TYPE = "application/octet-stream"
"""Of a file that code of the site made: a browser saves it, and runs nothing of it."""
_Text = Annotated[str | None, Header(include_in_schema=False)]


def _range_headers(
    range: _Text = None,  # noqa: A002 - the name of the header
    if_range: _Text = None,
) -> byte_ranges.RangeHeaders:
    return byte_ranges.RangeHeaders(range, if_range)


RangeHeaders = Annotated[byte_ranges.RangeHeaders, Depends(_range_headers)]


@router.get("/scans/{scan_id}/{name}", response_class=FileResponse)
def get_result(
    order_id: str,
    scan_id: str,
    name: str,
    store: Store,
    storage: ResultStorage,
    requested: RangeHeaders,
) -> Response:
    """One file of a classified scan.

    `features.geojson` (opens in QuPath), `features.geojson.gz`, `region.geojson`,
    `objects.csv`, `results.json`, `overlay.png`, and for viewers `findings.json` and
    `findings.pmtiles`. Some algorithms also make `embeddings.h5`,
    `attention.csv`, `output.log`, `posted.json` and `debug.zip`; `links` of the scan names what
    there is. `results.zip` holds all. Of a scan whose program failed there are `output.log` and
    `debug.zip`.
    """
    scan = scan_of(store.get(order_id), scan_id)
    if name not in MEDIA_TYPES and name != ARCHIVE:
        raise OrderError(
            "not_found", f"there is no result {name[:64]!r}", hint=f"there are: {NAMES}"
        )
    if not scan.result and scan.kept and name in scan.files:
        return _file(storage, f"{scan.kept}/{name}", MEDIA_TYPES[name], requested)
    result = result_of(scan)
    if name == ARCHIVE:
        return byte_ranges.answer(_archive(storage, scan), results_zip.MEDIA_TYPE, requested)
    if name in OPTIONAL and name not in scan.files:
        raise no_such_file(scan, name)
    return _file(storage, f"{result}/{name}", MEDIA_TYPES[name], requested)


@router.get("/scans/{scan_id}/files/{name}", response_class=FileResponse)
def get_own_file(
    order_id: str,
    scan_id: str,
    name: str,
    store: Store,
    storage: ResultStorage,
    requested: RangeHeaders,
) -> Response:
    """One further file that the algorithm's own code made, as it is.

    `links` of the scan names them, as `files/NAME`; `results.zip` holds them too.
    """
    scan = scan_of(store.get(order_id), scan_id)
    result = result_of(scan)
    file = f"{OWN_FILES}/{name}"
    if file not in scan.files:
        raise OrderError(
            "not_found",
            f"scan {scan.id} has no file {name[:64]!r}",
            hint="`links` of the scan names its files",
        )
    answer = _file(storage, f"{result}/{file}", OWN_MEDIA_TYPE, requested)
    answer.headers["content-disposition"] = f'attachment; filename="{name}"'
    return answer


@router.get("/payload", response_class=FileResponse)
def get_payload(
    order_id: str, store: Store, storage: ResultStorage, requested: RangeHeaders
) -> Response:
    """The exact bytes that were or will be delivered."""
    order = store.get(order_id)
    if not order.payload:
        raise _no_payload(order)
    return _file(storage, order.payload["file"], order.payload["content_type"], requested)


class EndedWithoutResultError(OrderError):
    """There is nothing to download and there never will be. Says why, and who can repair it."""

    def __init__(self, what: str, error: dict[str, Any]) -> None:
        detail = f"{what} failed: {error['code']}: {error['detail']}"
        super().__init__("scan_failed", detail, hint=error.get("hint", ""))
        self._blame: Blame = error.get("blame", "platform")

    @property
    def problem(self) -> Problem:
        """The error as it is shown, with the blame of the failure itself."""
        return replace(super().problem, blame=self._blame)


def no_such_file(scan: Scan, name: str) -> OrderError:
    """Return why a scan with a result has no file of this name, which others have."""
    hint = "its algorithm makes none; `links` of the scan names its files"
    if name in (FINDINGS_JSON, FINDINGS_PMTILES):
        hint = "an older version made the result: place the order again to have it"
    return OrderError("not_found", f"scan {scan.id} has no {name}", hint=hint)


def result_of(scan: Scan) -> str:
    """Return the key of a scan's result. Raise `OrderError` where it has none."""
    if not scan.result:
        raise _no_result(scan)
    return scan.result


def _no_result(scan: Scan) -> OrderError:
    """Return why a scan has no results: it failed, it was cancelled, or it is not done yet."""
    if scan.state == ScanState.FAILED and scan.error:
        return EndedWithoutResultError(f"scan {scan.id}", scan.error)
    if scan.state == ScanState.CANCELLED:
        return OrderError(
            "state_conflict",
            f"scan {scan.id} was cancelled before it was classified",
            hint="retry the order to have it classified",
        )
    return OrderError(
        "not_ready",
        f"scan {scan.id} is {scan.state.value}",
        hint="its results are there once it is classified",
    )


def _no_payload(order: Order) -> OrderError:
    """Return why an order has no payload: it ended without one, or it is not done yet."""
    if order.state == OrderState.FAILED and order.error:
        return EndedWithoutResultError("the order", order.error)
    if order.state in ENDED:
        return OrderError(
            "state_conflict",
            f"the order is {order.state.value} and has no payload",
            hint="its error says why; retry the order to have one",
        )
    return OrderError(
        "not_ready",
        f"the order is {order.state.value}",
        hint="the payload is made when every scan is classified",
    )


def scan_of(order: Order, scan_id: str) -> Scan:
    """Return the scan of this id. Raise `OrderError` where the order has none."""
    for scan in order.scans:
        if scan.id == scan_id:
            return scan
    known = ", ".join(scan.id for scan in order.scans[:8])
    raise OrderError(
        "not_found", f"the order has no scan {scan_id[:128]!r}", hint=f"its scans: {known}"
    )


def _archive(storage: Storage, scan: Scan) -> ResultsZip:
    """Return the archive of all files that can be downloaded of a scan with a result."""
    files = []
    for name in (*MEDIA_TYPES, *own_files(scan.files)):
        key = f"{scan.result}/{name}"
        stored = storage.find(key)
        if stored is not None:
            files.append(ZippedFile(name, key, stored))
    if not files:
        raise OrderError(
            "not_found", "the results are no longer kept", hint="place the order again"
        )
    return ResultsZip(storage, files)


def _file(
    storage: Storage, key: str, media_type: str, requested: byte_ranges.RangeHeaders
) -> Response:
    stored = storage.find(key)
    if stored is None:
        raise OrderError(
            "not_found", f"{key.rpartition('/')[2]} is no longer kept", hint="place the order again"
        )
    if stored.path:
        return FileResponse(stored.path, media_type=media_type)
    content = byte_ranges.StoredContent(storage, key, stored)
    return byte_ranges.answer(content, media_type, requested)
