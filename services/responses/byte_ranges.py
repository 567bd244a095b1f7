"""Answers with a file of an object store, whole or one range of it (RFC 9110, 14).

The bytes are passed on as they arrive. Starlette serves the files of this machine's disk.
"""

import re
from itertools import chain
from typing import NamedTuple

from fastapi.responses import Response, StreamingResponse

from broker.file_storage.interface import Storage, StoredFile


class RangeHeaders(NamedTuple):
    """The headers of a request that choose a part of a file."""

    range: str | None
    if_range: str | None


def answer(
    storage: Storage, key: str, stored: StoredFile, media_type: str, requested: RangeHeaders
) -> Response:
    """Return the whole file (200), the requested range (206), or 416 for a range outside of it.

    The first bytes are read before the answer starts, so that a fault becomes a problem and not
    half a file.
    """
    headers = {"accept-ranges": "bytes", "etag": stored.tag}
    size_bytes = stored.size_bytes
    start = 0
    end = size_bytes
    status = 200
    bounds = _requested_bounds(requested, stored)
    if bounds is not None:
        start, end = bounds
        if start >= end:
            headers["content-range"] = f"bytes */{size_bytes}"
            return Response(status_code=416, headers=headers)
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    chunks = storage.read(key, start, end)
    first = next(chunks, b"")
    headers["content-length"] = str(end - start)
    return StreamingResponse(chain((first,), chunks), status, headers, media_type)


def _requested_bounds(requested: RangeHeaders, stored: StoredFile) -> tuple[int, int] | None:
    """Return the half-open bounds of the requested range, or None for the whole file.

    If-Range asks for the whole file where the caller has another version of it.
    """
    if not requested.range or requested.if_range not in (None, stored.tag):
        return None
    return _bounds(requested.range, stored.size_bytes)


def _bounds(header: str, size_bytes: int) -> tuple[int, int] | None:
    """Return the half-open bounds, which are empty for a range outside of the file.

    None stands for a header that is no single range of bytes.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.replace(" ", ""), re.ASCII)
    if match is None:
        return None
    first, last = match.group(1, 2)
    if not first and not last:
        return None
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    if not last:
        return int(first), size_bytes
    if int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size_bytes)
