"""Measures a slide that is sent in by tus against a PUT that a server only writes to a file.

Both flush to the disk before they answer, ours after every piece, and both are uvicorn with h11.
"""

import base64
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from statistics import median

from benchmarks.comparison import Comparison
from benchmarks.environment import ROOT

PIECE_BYTES = 50 * 10**6
"""As the page sends them."""
_BLOCK = bytes(10**6)
_TUS = {"Tus-Resumable": "1.0.0"}


def measure(size_mb: int, rounds: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return MB/s of a slide of this size, in turns with the yardstick."""
    report(f"a slide of {size_mb} MB sent in over loopback")
    ours: list[float] = []
    plain: list[float] = []
    with _served() as (api, writer):
        for _ in range(rounds):
            ours.append(size_mb / _seconds(_by_tus, api, size_mb))
            plain.append(size_mb / _seconds(_by_put, writer, size_mb))
    ratios = tuple(one / other for one, other in zip(ours, plain, strict=True))
    what = "slide sent in by tus"
    return [Comparison(what, "MB/s", median(ours), "PUT to a file", median(plain), ratios)]


@contextmanager
def _served() -> Iterator[tuple[int, int]]:
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-", dir=ROOT) as folder:
        command = [sys.executable, "-m", "benchmarks.upload_server", folder]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin
            assert server.stdout
            yield int(server.stdout.readline()), int(server.stdout.readline())
            server.stdin.close()


def _seconds(way: Callable[[HTTPConnection, int], None], port: int, size_mb: int) -> float:
    http = HTTPConnection("127.0.0.1", port, timeout=300)
    http.connect()
    began = time.monotonic()
    way(http, size_mb * 10**6)
    took_s = time.monotonic() - began
    http.close()
    return took_s


def _by_tus(http: HTTPConnection, size_bytes: int) -> None:
    name = base64.b64encode(b"slide.svs").decode()
    created = {"Upload-Length": str(size_bytes), "Upload-Metadata": f"filename {name}"}
    path = _request(http, "POST", "/v1/uploads", 0, created)
    for offset in range(0, size_bytes, PIECE_BYTES):
        headers = {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        _request(http, "PATCH", path, min(PIECE_BYTES, size_bytes - offset), headers)


def _by_put(http: HTTPConnection, size_bytes: int) -> None:
    _request(http, "PUT", "/", size_bytes, {})


def _request(
    http: HTTPConnection, method: str, path: str, size_bytes: int, headers: dict[str, str]
) -> str:
    """Send so many bytes, and return the Location of the answer."""
    blocks = (_BLOCK for _ in range(size_bytes // len(_BLOCK)))
    http.request(method, path, blocks, {**_TUS, **headers, "Content-Length": str(size_bytes)})
    answer = http.getresponse()
    answer.read()
    assert answer.status in (201, 204), answer.status
    return answer.headers.get("Location", "")
