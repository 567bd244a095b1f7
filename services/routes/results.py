"""Routes to download results: the files of a scan, and the payload for the destination."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import FileResponse, Response

from broker.errors import OrderError
from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.orders.order import Order, Scan
from broker.orders.result_files import MEDIA_TYPES
from services.auth import ApiKeyAuth
from services.responses import byte_ranges

NAMES = ", ".join(MEDIA_TYPES)
_Text = Annotated[str | None, Header(include_in_schema=False)]


def _range_headers(
    range: _Text = None,  # noqa: A002 - the name of the header
    if_range: _Text = None,
) -> byte_ranges.RangeHeaders:
    return byte_ranges.RangeHeaders(range, if_range)


RangeHeaders = Annotated[byte_ranges.RangeHeaders, Depends(_range_headers)]


def routes(storage: Storage, store: OrderStore, gate: ApiKeyAuth) -> APIRouter:
    """Return the routes to the files below `/v1/orders/{order_id}`."""
    router = APIRouter(
        prefix="/v1/orders/{order_id}", tags=["results"], dependencies=[Depends(gate.read)]
    )

    @router.get("/scans/{scan_id}/{name}", response_class=FileResponse)
    def get_result(order_id: str, scan_id: str, name: str, requested: RangeHeaders) -> Response:
        """One file of a classified scan.

        `features.geojson` (opens in QuPath), `features.geojson.gz`, `region.geojson`,
        `objects.csv`, `results.json` or `overlay.png`.
        """
        scan = _scan(store.get(order_id), scan_id)
        if name not in MEDIA_TYPES:
            raise OrderError(
                "not_found", f"there is no result {name[:64]!r}", hint=f"there are: {NAMES}"
            )
        if not scan.result:
            raise OrderError(
                "not_ready",
                f"scan {scan.id} is {scan.state.value}",
                hint="its results are there once it is classified",
            )
        return _file(storage, f"{scan.result}/{name}", MEDIA_TYPES[name], requested)

    @router.get("/payload", response_class=FileResponse)
    def get_payload(order_id: str, requested: RangeHeaders) -> Response:
        """The exact bytes that were or will be delivered."""
        order = store.get(order_id)
        if not order.payload:
            raise OrderError(
                "not_ready",
                f"the order is {order.state.value}",
                hint="the payload is made when every scan is classified",
            )
        return _file(storage, order.payload["file"], order.payload["content_type"], requested)

    return router


def _scan(order: Order, scan_id: str) -> Scan:
    for scan in order.scans:
        if scan.id == scan_id:
            return scan
    known = ", ".join(scan.id for scan in order.scans[:8])
    raise OrderError(
        "not_found", f"the order has no scan {scan_id[:128]!r}", hint=f"its scans: {known}"
    )


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
    return byte_ranges.answer(storage, key, stored, media_type, requested)
