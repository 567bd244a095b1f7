"""What a region of a slide behind a URL costs, against the whole file and against the tiles it cannot do without.

A storage that answers after 20 ms, over a line of 50 MB/s; an empty shelf for every round.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import tifffile

from benchmarks.comparison import Row
from benchmarks.remote_file_server import Storage
from broker.orders.roi import Rectangle
from broker.orders.source import UrlSource
from broker.settings.config import WorkerSettings
from demo.slide import make_sample_slide, tissue_roi
from worker.algorithms.builtin_cards import ki67_card
from worker.geometry.roi import read_footprint, resolve_roi
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools, fetch_region, fetch_remote
from worker.sources.request import FetchRequest
from worker.sources.url import WholeFile

DELAY_S, BYTES_PER_S = 0.02, 50e6
SHELF_BYTES = 10**10
EDGES_PX = (1024, 2048, 4096)


class Cost(NamedTuple):
    """Of one fetch."""

    seconds: float
    requests: int
    bytes: int


class Nobody:
    """Listens to no progress."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Go on."""


def measure(rounds: int, width_px: int, height_px: int, say: Callable[[str], None]) -> list[Row]:
    """Regions of three sizes where there is most tissue, in turns with the whole slide."""
    rows: list[Row] = []
    sandbox = Sandbox(threads=1)
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        slide = Path(name) / "slide.svs"
        say(f"drawing a slide of {width_px:,} x {height_px:,} px")
        make_sample_slide(slide, width_px, height_px)
        with Storage.open(slide, DELAY_S, BYTES_PER_S) as storage:
            for edge_px in EDGES_PX:
                say(f"a region of {edge_px} px, {rounds} rounds")
                roi = Rectangle.model_validate(tissue_roi(slide, edge_px))
                needed_bytes = _needed_bytes(slide, roi, sandbox)
                turns: list[tuple[Cost, ...]] = [
                    (
                        _cost(storage, roi, sandbox, whole=False),
                        _cost(storage, roi, sandbox, whole=True),
                    )
                    for _ in range(rounds)
                ]
                rows += _rows(f"region of {edge_px} px", turns, needed_bytes)
    return rows


def _rows(what: str, turns: list[tuple[Cost, ...]], needed_bytes: int) -> list[Row]:
    (part, whole), *_ = sorted(turns, key=lambda turn: turn[0].seconds)[len(turns) // 2 :]
    faster = tuple(one.seconds / other.seconds for one, other in turns)
    return [
        Row(f"{what}, fetched", "s", part.seconds, "the whole file", whole.seconds, faster),
        Row(f"{what}, bytes", "bytes", part.bytes, "the level-0 tiles read", needed_bytes),
        Row(f"{what}, bytes", "bytes", part.bytes, "the whole file", whole.bytes),
        Row(f"{what}, requests", "requests", part.requests, "the whole file", whole.requests),
    ]


def _cost(storage: Storage, roi: Rectangle, sandbox: Sandbox, *, whole: bool) -> Cost:
    storage.counts()
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder, ExitStack() as pins:
        http = pins.enter_context(session(("127.0.0.1",), connect_timeout_s=5, read_timeout_s=30))
        tools = FetchTools(SlideCache(Path(folder), SHELF_BYTES), http, sandbox, WorkerSettings())
        began = perf_counter()
        copy = _fetch(storage.url, roi, tools, pins, whole=whole)
        took_s = perf_counter() - began
        if copy is None:
            raise RuntimeError("the region was not fetched in parts")
    return Cost(took_s, *storage.counts())


def _fetch(
    url: str, roi: Rectangle, tools: FetchTools, pins: ExitStack, *, whole: bool
) -> LocalSlide | None:
    progress = Nobody()
    if whole:
        file = WholeFile(tools.http, url, None, tools.limit_bytes, progress)
        return fetch_remote(file, tools.slide_cache, progress, pins)
    source = UrlSource.model_validate({"type": "url", "url": url})
    return fetch_region(url, FetchRequest(source, roi, None, ki67_card()), tools, progress, pins)


def _needed_bytes(slide: Path, roi: Rectangle, sandbox: Sandbox) -> int:
    """The level-0 tiles that classifying the region reads, halos included; no other level and no directory."""
    with sandbox.open(slide) as opened:
        box = read_footprint(resolve_roi(roi, opened.frame), opened.frame, ki67_card())
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        columns = -(-page.imagewidth // page.tilewidth)
        rows = range(box.y // page.tilelength, -(-(box.y + box.height) // page.tilelength))
        across = range(box.x // page.tilewidth, -(-(box.x + box.width) // page.tilewidth))
        return sum(page.databytecounts[row * columns + column] for row in rows for column in across)
