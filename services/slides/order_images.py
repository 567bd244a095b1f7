"""The route of the pixels of an order's slide, while the viewer's disk has it."""

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.orders.order import SCAN_ENDED
from services.dependencies import Store, Viewer, may_read
from services.responses.views import order_path
from services.routes.results import scan_of
from services.slides import images

router = APIRouter(
    prefix="/v1/orders/{order_id}/scans/{scan_id}/iiif",
    tags=["slides"],
    dependencies=[Depends(may_read)],
)


@router.get("", include_in_schema=False)
@router.get("/{rest:path}", response_class=Response)
async def get_scan_image(
    order_id: str, scan_id: str, request: Request, store: Store, viewer: Viewer, rest: str = ""
) -> Response:
    """The scan's slide as an image of the IIIF Image API 3, level 1; `info.json` describes it.

    Slides leave the slide cache when it is full, and files of the server may be replaced: 410
    `slide_gone` from then on.
    """
    slide = await run_in_threadpool(_slide_file, store, order_id, scan_id)
    base = f"{order_path(order_id)}/scans/{scan_id}/iiif"
    return await images.answer_iiif(request, viewer, slide, rest, base)


def _slide_file(store: OrderStore, order_id: str, scan_id: str) -> images.SlideFile:
    """Return where the slide of a scan is, and which one it was. Raise `OrderError`."""
    scan = scan_of(store.get(order_id), scan_id)
    path = scan.slide.get("path")
    if path:
        return images.SlideFile(str(path), str(scan.slide.get("digest", "")))
    if scan.state in SCAN_ENDED:
        raise images.slide_gone()
    raise OrderError(
        "not_ready",
        f"scan {scan.id} is {scan.state.value}",
        hint="its slide can be seen once it is fetched",
    )
