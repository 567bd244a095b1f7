"""Answers with a file that is no file of this machine's disk, whole or one range (RFC 9110, 14).

The bytes are passed on as they arrive. Starlette serves the files of this machine's disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

from fastapi.responses import Response, StreamingResponse

from broker.file_storage.interface import Storage, StoredFile


class RangeHeaders(NamedTuple):
    """The headers of a request that choose a part of a file."""

    range: str | None
    if_range: str | None


class Content(Protocol):
    """Bytes of a known length, any part of which can be read."""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""

    @property
    def tag(self) -> str:
        """Changes with the content; in quotes, as HTTP's ETag."""

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`, in several parts."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A file of the storage."""

    storage: Storage
    key: str
    stored: StoredFile

    @property
    def size_bytes(self) -> int:
        """How many bytes the file has."""
        return self.stored.size_bytes

    @property
    def tag(self) -> str:
        """The tag of the file."""
        return self.stored.tag

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Yield bytes of the file."""
        return self.storage.read(self.key, start, end)


def answer(content: Content, media_type: str, requested: RangeHeaders) -> Response:
    """Return the whole content (200), the requested range (206), or 416 for a range outside of it.

    The first bytes are read before the answer starts, so that a fault becomes a problem and not
    half a file.
    """
    headers = {"accept-ranges": "bytes", "etag": content.tag}
    size_bytes = content.size_bytes
    start = 0
    end = size_bytes
    status = 200
    bounds = _requested_bounds(requested, content)
    if bounds is not None:
        start, end = bounds
        if start >= end:
            headers["content-range"] = f"bytes */{size_bytes}"
            return Response(status_code=416, headers=headers)
        status = 206
        headers["content-range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    chunks = content.read(start, end)
    first = next(chunks, b"")
    headers["content-length"] = str(end - start)
    return StreamingResponse(chain((first,), chunks), status, headers, media_type)


def _requested_bounds(requested: RangeHeaders, content: Content) -> tuple[int, int] | None:
    """Return the half-open bounds of the requested range, or None for the whole file.

    If-Range asks for the whole file where the caller has another version of it.
    """
    if not requested.range or requested.if_range not in (None, content.tag):
        return None
    return _bounds(requested.range, content.size_bytes)


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
