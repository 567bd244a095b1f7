"""A file of a storage elsewhere as an answer: whole, or the one range that was asked for (RFC 9110, 14).

Passes bytes on as they come. A file on this machine's disk is Starlette's to serve.
"""

import re
from itertools import chain
from typing import NamedTuple

from fastapi.responses import Response, StreamingResponse

from broker.file_storage.interface import Storage, StoredFile


class Asked(NamedTuple):
    """The headers that choose a part."""

    range: str | None
    if_range: str | None


def answer(
    storage: Storage, key: str, stored: StoredFile, media_type: str, asked: Asked
) -> Response:
    """The bytes asked for. What fails before the first of them is a problem's answer, not half a file."""
    headers = {"accept-ranges": "bytes", "etag": stored.tag}
    start, end, status = 0, stored.size_bytes, 200
    if asked.range and asked.if_range in (None, stored.tag):
        part = _part(asked.range, stored.size_bytes)
        if part and part[0] >= part[1]:
            return Response(
                status_code=416,
                headers={**headers, "content-range": f"bytes */{stored.size_bytes}"},
            )
        if part:
            (start, end), status = part, 206
            headers["content-range"] = f"bytes {start}-{end - 1}/{stored.size_bytes}"
    pieces = storage.read(key, start, end)
    first = next(pieces, b"")
    headers["content-length"] = str(end - start)
    return StreamingResponse(chain((first,), pieces), status, headers, media_type)


def _part(asked: str, size_bytes: int) -> tuple[int, int] | None:
    """Its bounds, half-open and empty where nothing of it is there; None for what is no single range of bytes."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.replace(" ", ""), re.ASCII)
    if not found or found.group(1, 2) == ("", ""):
        return None
    first, last = found.group(1, 2)
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size_bytes) if last else size_bytes
