"""Measures a slide's download into the slide cache against plain downloads of a file.

Ours is hashed, checked and synced to disk; the yardsticks only write what arrives. There is a
server that limits each connection, and one that does not.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import requests

from benchmarks.comparison import Comparison
from benchmarks.environment import ROOT
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.sources.fetch import fetch_remote
from worker.sources.url import WholeFile

Fetch = Callable[[str, Path], object]
LIMIT_MB_PER_S = 20


class IgnoredProgress:
    """Takes progress and does nothing with it."""

    def report(self, stage: str, done: int, total: int) -> None:
        """Do nothing."""


def measure(
    limited_mb: int, free_mb: int, rounds: int, report: Callable[[str], None]
) -> list[Comparison]:
    """Return MB/s for a slide where each connection is limited, and for one where none is."""
    rows = []
    for size_mb, limit in ((limited_mb, LIMIT_MB_PER_S), (free_mb, 0)):
        name = "no limit"
        if limit:
            name = f"{limit} MB/s for each connection"
        report(f"a slide of {size_mb} MB over HTTP, {name}")
        with (
            tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder,
            _served(Path(folder), size_mb, limit) as url,
        ):
            rows += _compared(
                f"slide over HTTP, {name}", size_mb, lambda way: _seconds(way, url), rounds
            )
    return rows


def _compared(
    what: str, size_mb: int, seconds: Callable[[Fetch], float], rounds: int
) -> list[Comparison]:
    yardsticks: dict[str, Fetch] = {"requests to a file": _by_requests}
    if shutil.which("curl"):
        yardsticks["curl"] = _by_curl
    taken: dict[str, list[float]] = {name: [] for name in ("ours", *yardsticks)}
    for _ in range(rounds):
        for name, way in {"ours": _ours, **yardsticks}.items():
            taken[name].append(size_mb / seconds(way))
    return [
        Comparison(
            what,
            "MB/s",
            median(taken["ours"]),
            name,
            median(taken[name]),
            tuple(ours / theirs for ours, theirs in zip(taken["ours"], taken[name], strict=True)),
        )
        for name in yardsticks
    ]


def _seconds(way: Fetch, url: str) -> float:
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder:
        began = time.monotonic()
        way(url, Path(folder))
        return time.monotonic() - began


@contextmanager
def _served(folder: Path, size_mb: int, limit: int) -> Iterator[str]:
    slide = folder / "slide.tif"
    slide.write_bytes(b"II*\0" + bytes(size_mb * 10**6 - 4))
    command = [sys.executable, "-m", "benchmarks.throttled_file_server", str(slide), str(limit)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/slide.tif"
        server.stdin.close()


def _ours(url: str, folder: Path) -> None:
    with (
        session(("127.0.0.1",), connect_timeout_s=5, read_timeout_s=30) as http,
        ExitStack() as pins,
    ):
        progress = IgnoredProgress()
        fetch_remote(
            WholeFile(http, url, None, 10**11, progress), SlideCache(folder, 10**12), progress, pins
        )


def _by_requests(url: str, folder: Path) -> None:
    with (
        requests.get(url, stream=True, timeout=30) as response,
        (folder / "slide").open("wb") as file,
    ):
        for data in response.iter_content(2**20):
            file.write(data)


def _by_curl(url: str, folder: Path) -> None:
    subprocess.run(
        ["curl", "--silent", "--fail", "--output", str(folder / "slide"), url], check=True
    )
