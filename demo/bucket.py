"""A stand-in for a bucket: serves one file, whole or in ranges, at a signed URL.

The ledger of a receiver is not used, because nothing is sent to a bucket.
"""

import re
import secrets
from pathlib import Path

from demo.http_server import Answer, Request
from demo.receivers import Receiver, RefusedError

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
MAX_FILE_BYTES = 2 * 2**30


class FileBucket(Receiver):
    """Serves `path` at `signed_url`.

    Ranges are honoured. HEAD is refused, as for a URL that is signed for GET.
    """

    def __init__(self, path: Path, port: int = 0) -> None:
        super().__init__(port)
        self._path = path
        self._signature = secrets.token_urlsafe()

    @property
    def signed_url(self) -> str:
        """The only URL that is answered."""
        return f"{self.url}/{self._path.name}?signature={self._signature}"

    def answer(self, request: Request) -> Answer:
        """Answer GET, whole or in a range."""
        signed = secrets.compare_digest(request.query, f"signature={self._signature}")
        if request.method != "GET" or request.path != f"/{self._path.name}" or not signed:
            raise RefusedError(403, "the URL is not signed for this")
        stat = self._path.stat()
        size_bytes = stat.st_size
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{size_bytes}-{stat.st_mtime_ns}"'}
        if "Range" not in request.headers:
            return Answer(200, self._read(0, size_bytes), headers)
        start, end = _range(request.headers["Range"], size_bytes)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
        return Answer(206, self._read(start, end), headers)

    def _read(self, start: int, end: int) -> bytes:
        if end - start > MAX_FILE_BYTES:
            raise RefusedError(413, f"more than {MAX_FILE_BYTES} bytes at once are not served")
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def _range(header: str, size_bytes: int) -> tuple[int, int]:
    """Return the requested bytes as a half-open range. Raise `RefusedError` for one outside."""
    match = RANGE.fullmatch(header)
    if match is None or int(match[1]) >= size_bytes:
        raise RefusedError(416, f"the range {header!r} does not lie in {size_bytes} bytes")
    first, last = match.groups()
    if not last:
        return int(first), size_bytes
    return int(first), min(size_bytes, int(last) + 1)
