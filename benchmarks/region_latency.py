"""From POST to delivered: orders of one region, one after another, against fetching, decoding and computing it alone.

The whole service runs as `make serve` has it, on a Redis that syncs every write; results go to a stand-in for Techcyte.
The clock stops when their last byte is there: what the stand-in does with them (it checks every coordinate, which takes
0.2 s) is its own. The yardstick is the same code for the slide and the model and nothing else, in one process that has
both at hand, in turns with the orders, once for every four of them, on all cores.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
import requests

from benchmarks.comparison import Row
from benchmarks.environment import Bed
from broker.orders.roi import Rectangle
from broker.settings.config import AlgorithmSettings
from demo.http_server import Answer, Request
from demo.slide import make_sample_slide, tissue_roi
from demo.stack import free_ports
from demo.techcyte import TechcyteReceiver
from worker.algorithms import registry
from worker.algorithms.interface import TileAlgorithm
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.inference import parallel_tiles, tissue
from worker.slides.slide import Slide

DATABASE, EDGE_PX, JITTER_PX = 0, 2048, 256
KI67 = {"ki67": AlgorithmSettings(kind="ki67")}
WARM_UP_ORDERS = 5
ORDERS_IN_TURN = 4
LOOK_S = 0.0005  # seconds between two looks at the receiver


def measure(orders: int, say: Callable[[str], None]) -> list[Row]:
    """So many orders; after the last one of every few the same region alone."""
    with Bed() as bed, _Techcyte(any_task=True) as techcyte:
        path = bed.folder / "slide.svs"
        make_sample_slide(path, 12_000, 8_000)
        desk = _Desk(bed, path, techcyte)
        say(f"{orders} orders of a region of {EDGE_PX} px, each from POST to delivered")
        with Slide.open(path) as slide:
            model = registry.load(
                "ki67", KI67, {}, "auto", max_batch_bytes=parallel_tiles.MAX_BATCH_BYTES
            )
            roi = tissue_roi(path, EDGE_PX + JITTER_PX)
            for _ in range(WARM_UP_ORDERS):
                _turn(desk, slide, model, [_jittered(roi)])
            turns = -(-orders // ORDERS_IN_TURN)
            taken = [
                _turn(desk, slide, model, [_jittered(roi) for _ in range(ORDERS_IN_TURN)])
                for _ in range(turns)
            ]
        desk.prove(turns * ORDERS_IN_TURN + WARM_UP_ORDERS)
    ours, alone = [one for turn, _ in taken for one in turn], [one for _, one in taken]
    ratios = tuple(median(turn) / theirs for turn, theirs in taken)
    names = ((50, "p50"), (99, "p99"))
    return [
        Row(
            f"region of {EDGE_PX} px, POST to delivered, {name}", "ms", 1000 * _percentile(ours, percent),
            "decode and model alone", 1000 * _percentile(alone, percent), ratios if percent == 50 else (),
        )
        for percent, name in names
    ]  # fmt: skip


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _jittered(roi: dict[str, int]) -> dict[str, int]:
    x, y = (roi[axis] + random.randrange(JITTER_PX) for axis in "xy")
    return {"x": x, "y": y, "width": EDGE_PX, "height": EDGE_PX}


def _turn(
    desk: "_Desk", slide: Slide, model: Any, rois: list[dict[str, int]]
) -> tuple[list[float], float]:
    return [desk.deliver(roi) for roi in rois], _alone(slide, model, rois[-1])


def _alone(slide: Slide, model: TileAlgorithm, roi: dict[str, int]) -> float:
    """Decode and compute; the model is calibrated on the region's own tiles."""
    began = perf_counter()
    grid = tissue.tissue_tiles(
        slide, tile_grid(resolve_roi(Rectangle(**roi), slide.frame), slide.frame, model.card)
    )
    registry.compute_threads(1)
    held: list[Pixels] = [
        batch.value for batch in parallel_tiles.map_tiles(slide, grid, 1, np.copy)
    ]
    halo = grid.halo_px
    cores = np.concatenate(held)[:, halo:-halo, halo:-halo]
    classifier = model.calibrate(np.ascontiguousarray(cores))
    for _ in parallel_tiles.map_tiles(slide, grid, 1, classifier.classify):
        pass
    return perf_counter() - began


class _Techcyte(TechcyteReceiver):
    """Notes when results have come."""

    came_at = 0.0

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            self.came_at = perf_counter()
        return super().answer(request)


class _Desk:
    """The service, and somebody who orders and waits."""

    def __init__(self, bed: Bed, slide: Path, techcyte: _Techcyte) -> None:
        self._slide, self._techcyte, (port,) = slide, techcyte, free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        allowed = {"BROKER__ALLOW_HOSTS": '["127.0.0.1"]', "SERVICES__PORT": str(port)}
        environment = bed.environment(DATABASE, **allowed)
        for name, arguments in (
            ("api", ["services"]),
            ("courier", ["worker", "courier"]),
            ("gpu", ["worker", "gpu"]),
        ):
            bed.start(name, *arguments, environment=environment)
        bed.wait_for(self._is_ready, "the service")

    def deliver(self, roi: dict[str, int]) -> float:
        """Seconds from POST until the destination has the results."""
        before, task = len(self._techcyte.evaluations), str(random.getrandbits(40))
        to = {
            "type": "techcyte",
            "base_url": self._techcyte.url,
            "task_id": task,
            "jwt_token": self._techcyte.jwt_token,
        }
        scan = {"id": "1", "source": {"type": "path", "path": str(self._slide)}, "roi": roi}
        began = perf_counter()
        self._call("/v1/orders", {"algorithm": "ki67", "scans": [scan], "destination": to})
        while len(self._techcyte.evaluations) == before:
            if perf_counter() - began > 60:
                raise TimeoutError("an order was not delivered within a minute")
            time.sleep(LOOK_S)
        return self._techcyte.came_at - began

    def prove(self, orders: int) -> None:
        """Every order was delivered, and once."""
        tasks = [evaluation["task_id"] for evaluation in self._techcyte.evaluations]
        if not len(tasks) == len(set(tasks)) == orders:
            raise AssertionError(
                f"{orders} orders, {len(tasks)} deliveries of {len(set(tasks))} tasks"
            )

    def _is_ready(self) -> bool:
        try:
            self._call("/readyz")
        except requests.RequestException:
            return False
        return True

    def _call(self, path: str, body: Any = None) -> None:
        answer = requests.request(
            "GET" if body is None else "POST", self._url + path, json=body, timeout=30
        )
        answer.raise_for_status()
