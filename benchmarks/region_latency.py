"""Measures orders of one region from POST to delivered, one after another.

The whole service runs as in `make serve`, on a Redis that syncs every write. Results go to a
stand-in for Techcyte, and the clock stops when their last byte has arrived: that the stand-in then
checks every coordinate for 0.2 s does not count. The yardstick is the same code for slide and model
and nothing else, in one process that has opened and loaded both. It runs on all cores, in turns
with the orders, once for every four of them.
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

from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
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

DATABASE = 0
EDGE_PX = 2048
JITTER_PX = 256
KI67 = {"ki67": AlgorithmSettings(kind="ki67")}
WARM_UP_ORDERS = 5
ORDERS_IN_TURN = 4
POLL_S = 0.0005


def measure(orders: int, report: Callable[[str], None]) -> list[Comparison]:
    """Measure so many orders, and after every few the region of the last one alone."""
    with Environment() as env, _Techcyte(any_task=True) as techcyte:
        path = env.folder / "slide.svs"
        make_sample_slide(path, 12_000, 8_000)
        service = _Service(env, path, techcyte)
        report(f"{orders} orders of a region of {EDGE_PX} px, each from POST to delivered")
        with Slide.open(path) as slide:
            model = registry.load(
                "ki67", KI67, {}, "auto", max_batch_bytes=parallel_tiles.MAX_BATCH_BYTES
            )
            roi = tissue_roi(path, EDGE_PX + JITTER_PX)
            for _ in range(WARM_UP_ORDERS):
                _turn(service, slide, model, [_jittered(roi)])
            turns = -(-orders // ORDERS_IN_TURN)
            taken = [
                _turn(service, slide, model, [_jittered(roi) for _ in range(ORDERS_IN_TURN)])
                for _ in range(turns)
            ]
        service.check_deliveries(turns * ORDERS_IN_TURN + WARM_UP_ORDERS)
    ours = [took_s for turn, _ in taken for took_s in turn]
    alone = [took_s for _, took_s in taken]
    ratios = tuple(median(turn) / theirs for turn, theirs in taken)
    names = ((50, "p50"), (99, "p99"))
    return [
        Comparison(
            f"region of {EDGE_PX} px, POST to delivered, {name}",
            "ms",
            1000 * _percentile(ours, percent),
            "decode and model alone",
            1000 * _percentile(alone, percent),
            ratios if percent == 50 else (),
        )
        for percent, name in names
    ]


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _jittered(roi: dict[str, int]) -> dict[str, int]:
    x = roi["x"] + random.randrange(JITTER_PX)
    y = roi["y"] + random.randrange(JITTER_PX)
    return {"x": x, "y": y, "width": EDGE_PX, "height": EDGE_PX}


def _turn(
    service: "_Service", slide: Slide, model: Any, rois: list[dict[str, int]]
) -> tuple[list[float], float]:
    """Return the seconds of each order, and those of the last region alone."""
    orders_s = [service.deliver(roi) for roi in rois]
    return orders_s, _alone(slide, model, rois[-1])


def _alone(slide: Slide, model: TileAlgorithm, roi: dict[str, int]) -> float:
    """Decode and compute; the model is calibrated on the tiles of the region."""
    began = perf_counter()
    grid = tissue.tissue_tiles(
        slide, tile_grid(resolve_roi(Rectangle(**roi), slide.frame), slide.frame, model.card)
    )
    registry.set_compute_threads(1)
    tiles: list[Pixels] = [
        batch.value for batch in parallel_tiles.map_tiles(slide, grid, 1, np.copy)
    ]
    halo = grid.halo_px
    cores = np.concatenate(tiles)[:, halo:-halo, halo:-halo]
    classifier = model.calibrate(np.ascontiguousarray(cores))
    for _ in parallel_tiles.map_tiles(slide, grid, 1, classifier.classify):
        pass
    return perf_counter() - began


class _Techcyte(TechcyteReceiver):
    """Records when results arrive."""

    arrived_at = 0.0

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            self.arrived_at = perf_counter()
        return super().answer(request)


class _Service:
    """The service and its client."""

    def __init__(self, env: Environment, slide: Path, techcyte: _Techcyte) -> None:
        self._slide = slide
        self._techcyte = techcyte
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        allowed = {"BROKER__ALLOW_HOSTS": '["127.0.0.1"]', "SERVICES__PORT": str(port)}
        variables = env.variables(DATABASE, **allowed)
        for name, arguments in (
            ("api", ["services"]),
            ("courier", ["worker", "courier"]),
            ("gpu", ["worker", "gpu"]),
        ):
            env.start(name, *arguments, variables=variables)
        env.wait_for(self._is_ready, "the service")

    def deliver(self, roi: dict[str, int]) -> float:
        """Return the seconds from POST until the destination has the results."""
        before = len(self._techcyte.evaluations)
        task = str(random.getrandbits(40))
        destination = {
            "type": "techcyte",
            "base_url": self._techcyte.url,
            "task_id": task,
            "jwt_token": self._techcyte.jwt_token,
        }
        scan = {"id": "1", "source": {"type": "path", "path": str(self._slide)}, "roi": roi}
        began = perf_counter()
        self._call("/v1/orders", {"algorithm": "ki67", "scans": [scan], "destination": destination})
        while len(self._techcyte.evaluations) == before:
            if perf_counter() - began > 60:
                raise TimeoutError("an order was not delivered within a minute")
            time.sleep(POLL_S)
        return self._techcyte.arrived_at - began

    def check_deliveries(self, orders: int) -> None:
        """Raise `AssertionError` unless every order was delivered exactly once."""
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
        method = "POST"
        if body is None:
            method = "GET"
        answer = requests.request(method, self._url + path, json=body, timeout=30)
        answer.raise_for_status()
