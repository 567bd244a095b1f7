"""Routes for viewers: single tiles of the findings of a scan."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from broker.errors import OrderError
from broker.orders.result_files import FINDINGS_PMTILES
from services.dependencies import FindingsTiles, Store, may_read
from services.routes.results import no_such_file, result_of, scan_of

router = APIRouter(
    prefix="/v1/orders/{order_id}", tags=["results"], dependencies=[Depends(may_read)]
)
MEDIA_TYPE: Final = "application/octet-stream"
CACHE: Final = "private, max-age=86400, immutable"
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def _place(zoom: str, x: str, y: str) -> tuple[int, int, int]:
    return _number(zoom), _number(x), _number(y)


def _archive(order_id: str, scan_id: str, store: Store) -> str:
    """Return the key of the archive of a scan. Raise `OrderError` where it has none."""
    scan = scan_of(store.get(order_id), scan_id)
    result = result_of(scan)
    if FINDINGS_PMTILES not in scan.files:
        raise no_such_file(scan, FINDINGS_PMTILES)
    return f"{result}/{FINDINGS_PMTILES}"


@router.get("/scans/{scan_id}/findings/{zoom}/{x}/{y}", response_class=Response)
def get_findings_tile(
    place: Annotated[tuple[int, int, int], Depends(_place)],
    archive: Annotated[str, Depends(_archive)],
    tiles: FindingsTiles,
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """One tile of the findings of a classified scan; 204 where it is empty.

    `findings.json` states the grid of tiles, and `docs/formats.md` describes their bytes. They hold
    gzip members, which the caller unpacks. `findings.pmtiles` holds all tiles.
    """
    tag, content = tiles.tile(archive, *place)
    headers = {"etag": tag, "cache-control": CACHE}
    known = {part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    if not content:
        return Response(status_code=204, headers=headers)
    return Response(content, headers=headers, media_type=MEDIA_TYPE)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise OrderError(
            "request_malformed",
            f"{text[:64]!r} is no number of a tile",
            hint="findings/ZOOM/X/Y with whole numbers from 0 on",
        )
    return int(text)
