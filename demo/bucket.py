"""A stand-in for the bucket that slides come from: serves one file in ranges behind a signature, like a presigned URL.

Knows nothing of slides. The ledger is not used: nothing is sent here.
"""

import re
import secrets
from pathlib import Path

from demo.http_server import Answer, Request
from demo.receivers import Receiver, RefusedError

RANGE = re.compile(r"bytes=(\d+)-(\d*)")
MAX_FILE_BYTES = 2 * 2**30


class FileBucket(Receiver):
    """Serves `path` at `signed_url`. Ranges are honoured; as with a URL signed for GET, HEAD is refused."""

    def __init__(self, path: Path, port: int = 0) -> None:
        super().__init__(port)
        self._path, self._signature = path, secrets.token_urlsafe()

    @property
    def signed_url(self) -> str:
        """The only address that is answered."""
        return f"{self.url}/{self._path.name}?signature={self._signature}"

    def answer(self, request: Request) -> Answer:
        """Answer GET, whole or in a range."""
        signed = secrets.compare_digest(request.query, f"signature={self._signature}")
        if request.method != "GET" or request.path != f"/{self._path.name}" or not signed:
            raise RefusedError(403, "the URL is not signed for this")
        size = self._path.stat().st_size
        first, last = _range(request.headers.get("Range", ""), size)
        validators = {"Accept-Ranges": "bytes", "ETag": f'"{size}-{self._path.stat().st_mtime_ns}"'}
        if "Range" not in request.headers:
            return Answer(200, self._read(first, last), validators)
        return Answer(
            206,
            self._read(first, last),
            {**validators, "Content-Range": f"bytes {first}-{last - 1}/{size}"},
        )

    def _read(self, first: int, last: int) -> bytes:
        if last - first > MAX_FILE_BYTES:
            raise RefusedError(413, f"more than {MAX_FILE_BYTES} bytes at once are not served")
        with self._path.open("rb") as file:
            file.seek(first)
            return file.read(last - first)


def _range(header: str, size: int) -> tuple[int, int]:
    """The half-open byte range asked for; all of the file when none is."""
    if not header:
        return 0, size
    match = RANGE.fullmatch(header)
    if match is None or int(match[1]) >= size:
        raise RefusedError(416, f"the range {header!r} does not lie in {size} bytes")
    return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
