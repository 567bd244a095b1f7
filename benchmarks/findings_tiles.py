"""Measures findings as tiles for a viewer: writing them, their size, and one tile over HTTP.

The yardstick is the GeoJSON of the same objects, and for a tile the answer to GET of its order. The
objects are as dense as nuclei in tissue, about 350 in a tile, in the order in which tiles are read.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from pmtiles.reader import MmapSource, all_tiles

from benchmarks.backlog_latency import percentile
from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
from broker.file_storage.folder import FolderStorage
from broker.order_store import OrderStore
from broker.orders.order import Stage
from broker.orders.request import OrderRequest
from broker.orders.result_files import FEATURES, FINDINGS_PMTILES
from demo.stack import free_ports
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Area, Frame
from worker.results.files import geojson
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects, outlines
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.result import Findings, Result
from worker.results.stored_result import store_result
from worker.results.tiles import files

PX2_PER_NUCLEUS = 2880
BANDS = 1024
"""Height of a row of tiles in level-0 pixels."""


def measure(count: int, rounds: int, calls: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return microseconds and bytes of each object, and milliseconds of a tile over HTTP."""
    report(f"{count:,} findings as tiles")
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder:
        rows = list(_writing(Path(folder), count, rounds))
    report(f"a tile of {count:,} findings over HTTP")
    with Environment() as env:
        return [*rows, *_serving(env, count, calls)]


def _writing(folder: Path, count: int, rounds: int) -> Iterator[Comparison]:
    """Compare core time, of which a busy machine says more than of time on the wall."""
    result = _result(folder, count)
    ours = []
    yardstick = []
    store = ObjectStore(folder / "objects")
    for _ in range(rounds):
        began = time.process_time()
        files.write(folder, result, store)
        ours.append((time.process_time() - began) / count * 1e6)
        began = time.process_time()
        with (folder / FEATURES).open("wb") as file:
            geojson.write(result, file)
        yardstick.append((time.process_time() - began) / count * 1e6)
    what = f"{count:,} findings as tiles"
    ratios = tuple(one / other for one, other in zip(ours, yardstick, strict=True))
    yield Comparison(
        f"{what}, core time of each", "µs", min(ours), FEATURES, min(yardstick), ratios
    )
    sizes = [(folder / name).stat().st_size / count for name in (FINDINGS_PMTILES, FEATURES)]
    yield Comparison(f"{what}, size of each", "bytes", sizes[0], FEATURES, sizes[1])


def _serving(env: Environment, count: int, calls: int) -> Iterator[Comparison]:
    (port,) = free_ports(1)
    env.start("api", "services", variables=env.variables(0, SERVICES__PORT=str(port)))
    store = OrderStore.connect(env.settings(0))
    storage = FolderStorage(env.folder, is_mounted=False)
    source = {"type": "path", "path": str(env.folder / "slide.svs")}
    request = OrderRequest.model_validate(
        {"algorithm": "ki67", "scans": [{"id": "1", "source": source}]}, strict=False
    )
    order_id = store.create(request, queue="gpu").order_id
    key = f"results/{order_id}/0.1"
    result = _result(env.folder, count)
    overlay = OverlayDrawing(np.zeros((8, 8, 3), np.uint8), result)
    stored = store_result(storage, key, result, overlay, lambda _done, _all: None)
    _finish(store, f"{order_id}.0", "fetch", "staged", {})
    _finish(store, f"{order_id}.0", "classify", "classified", stored.fields)
    http = HTTPConnection("127.0.0.1", port, timeout=60)
    env.wait_for(lambda: _answers(http), "an answer of the API")
    with (storage.folder / key / FINDINGS_PMTILES).open("rb") as file:
        places = [place for place, _ in all_tiles(MmapSource(file))]
    rng = random.Random(0)
    tiles_s = []
    orders_s = []
    for _ in range(calls):
        zoom, x, y = rng.choice(places)
        path = f"/v1/orders/{order_id}"
        tiles_s.append(_seconds(http, f"{path}/scans/1/findings/{zoom}/{x}/{y}"))
        orders_s.append(_seconds(http, path))
    for percent in (50, 99):
        yield Comparison(
            f"GET tile of {count:,} findings p{percent}",
            "ms",
            1000 * percentile(tiles_s, percent),
            "GET order",
            1000 * percentile(orders_s, percent),
        )


def _finish(store: OrderStore, item: str, stage: Stage, to: str, fields: dict[str, Any]) -> None:
    claim = store.claim(item, stage, "bench")
    if claim is None:
        raise RuntimeError(f"the order cannot be taken for {stage}")
    store.finish(claim, to, fields)


def _answers(http: HTTPConnection) -> bool:
    try:
        _seconds(http, "/healthz")
    except OSError:
        http.close()
        return False
    return True


def _seconds(http: HTTPConnection, path: str) -> float:
    began = time.perf_counter()
    http.request("GET", path)
    answer = http.getresponse()
    answer.read()
    took_s = time.perf_counter() - began
    if answer.status != 200:
        raise RuntimeError(f"GET {path} was answered {answer.status}")
    return took_s


def _result(folder: Path, count: int) -> Result:
    """Return a result whose objects are in a store in the folder."""
    edge_px = int((count * PX2_PER_NUCLEUS) ** 0.5) + 2 * BANDS
    store = ObjectStore.begin(folder / "objects")
    for objects in _nuclei(count, edge_px):
        store.append(objects)
    area = Area(0, 0, edge_px, edge_px)
    frame = Frame(edge_px, edge_px, 0.5, 0.5, "slide")
    return Result("order", "1", ki67_card(), {}, Findings(frame, area, store, {}, ""), {})


def _nuclei(count: int, edge_px: int) -> Iterator[Objects]:
    """Yield outlines of 8 to 15 points in half pixels, as those of a mask, tile by tile."""
    rng = np.random.default_rng(0)
    places = rng.uniform(20, edge_px - 20, (count, 2))
    order = np.lexsort((places[:, 0] // BANDS, places[:, 1] // BANDS))
    for start in range(0, count, CHUNK):
        centres = places[order[start : start + CHUNK]]
        lengths = rng.integers(8, 16, len(centres))
        owner = np.repeat(np.arange(len(centres)), lengths)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        angle = 2 * np.pi * step / lengths[owner]
        radius = rng.uniform(5, 9, len(centres))[owner] * rng.uniform(0.9, 1.1, len(owner))
        points = centres[owner] + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        yield Objects(
            centres,
            tuple(outlines(np.rint(2 * points) / 2, lengths.tolist())),
            rng.integers(0, 2, len(centres)),
            rng.random(len(centres)),
            measurements=rng.random((len(centres), 1)),
        )
