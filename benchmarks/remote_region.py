"""Measures a region of a slide at a URL, against the whole file and the tiles that are needed.

The server answers after 20 ms and sends 50 MB/s. The slide cache is empty in every round.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import requests
import tifffile

from benchmarks.comparison import Comparison
from benchmarks.download import IgnoredProgress
from benchmarks.remote_file_server import RemoteFileServer
from broker.orders.roi import Rectangle
from broker.orders.source import UrlSource
from broker.settings.config import WorkerSettings
from demo.slide import make_sample_slide, tissue_roi
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.roi import read_footprint, resolve_roi
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher, fetch_remote
from worker.sources.request import FetchRequest
from worker.sources.url import WholeFile

DELAY_S = 0.02
BYTES_PER_S = 50e6
CACHE_BYTES = 10**10
EDGES_PX = (1024, 2048, 4096)


class Cost(NamedTuple):
    """What one fetch took."""

    seconds: float
    requests: int
    bytes: int


def measure(
    rounds: int, width_px: int, height_px: int, report: Callable[[str], None]
) -> list[Comparison]:
    """Measure regions of three sizes with most tissue, in turns with the whole slide."""
    rows: list[Comparison] = []
    sandbox = Sandbox(threads=1)
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        slide = Path(name) / "slide.svs"
        report(f"drawing a slide of {width_px:,} x {height_px:,} px")
        make_sample_slide(slide, width_px, height_px)
        with RemoteFileServer.open(slide, DELAY_S, BYTES_PER_S) as server:
            for edge_px in EDGES_PX:
                report(f"a region of {edge_px} px, {rounds} rounds")
                roi = Rectangle.model_validate(tissue_roi(slide, edge_px))
                needed_bytes = _needed_bytes(slide, roi, sandbox)
                turns: list[tuple[Cost, ...]] = [
                    (
                        _cost(server, roi, sandbox, whole=False),
                        _cost(server, roi, sandbox, whole=True),
                    )
                    for _ in range(rounds)
                ]
                rows += _rows(f"region of {edge_px} px", turns, needed_bytes)
    return rows


def _rows(what: str, turns: list[tuple[Cost, ...]], needed_bytes: int) -> list[Comparison]:
    (part, whole), *_ = sorted(turns, key=lambda turn: turn[0].seconds)[len(turns) // 2 :]
    faster = tuple(one.seconds / other.seconds for one, other in turns)
    return [
        Comparison(f"{what}, fetched", "s", part.seconds, "the whole file", whole.seconds, faster),
        Comparison(f"{what}, bytes", "bytes", part.bytes, "the level-0 tiles read", needed_bytes),
        Comparison(f"{what}, bytes", "bytes", part.bytes, "the whole file", whole.bytes),
        Comparison(
            f"{what}, requests", "requests", part.requests, "the whole file", whole.requests
        ),
    ]


def _cost(server: RemoteFileServer, roi: Rectangle, sandbox: Sandbox, *, whole: bool) -> Cost:
    server.counts()
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder, ExitStack() as pins:
        http = pins.enter_context(session(("127.0.0.1",), connect_timeout_s=5, read_timeout_s=30))
        cache = SlideCache(Path(folder), CACHE_BYTES)
        slide: LocalSlide | None
        began = perf_counter()
        if whole:
            slide = _fetch_whole(server.url, cache, http, pins)
        else:
            fetcher = SlideFetcher(cache, http, sandbox, WorkerSettings())
            slide = _fetch_region(server.url, roi, fetcher, pins)
        took_s = perf_counter() - began
        if slide is None:
            raise RuntimeError("the region was not fetched in parts")
    return Cost(took_s, *server.counts())


def _fetch_whole(
    url: str, cache: SlideCache, http: requests.Session, pins: ExitStack
) -> LocalSlide:
    progress = IgnoredProgress()
    file = WholeFile(http, url, None, CACHE_BYTES, progress)
    return fetch_remote(file, cache, progress, pins)


def _fetch_region(
    url: str, roi: Rectangle, fetcher: SlideFetcher, pins: ExitStack
) -> LocalSlide | None:
    source = UrlSource.model_validate({"type": "url", "url": url})
    request = FetchRequest(source, roi, None, ki67_card())
    return fetcher.fetch_region(url, request, IgnoredProgress(), pins)


def _needed_bytes(slide: Path, roi: Rectangle, sandbox: Sandbox) -> int:
    """Return the bytes of the level-0 tiles that classifying the region reads, with halos."""
    with sandbox.open(slide) as opened:
        box = read_footprint(resolve_roi(roi, opened.frame), opened.frame, ki67_card())
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        columns = -(-page.imagewidth // page.tilewidth)
        rows = range(box.y // page.tilelength, -(-(box.y + box.height) // page.tilelength))
        across = range(box.x // page.tilewidth, -(-(box.x + box.width) // page.tilewidth))
        return sum(page.databytecounts[row * columns + column] for row in rows for column in across)
