"""What only a trial shows of a container: that processes are spawned, and that a real worker leaves as it should.

Owns a Redis, a courier and a worker of its own, in a folder that is removed. Must not touch the service's.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from broker.diagnostics import Row
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.orders.order import Scan, ScanState
from broker.orders.request import OrderRequest
from broker.settings.config import PREFIX, BrokerSettings, Config

_EDGE_PX: Final = 8192
_TILE_PX: Final = 256
_GRACE_S: Final = 1.0
_STARTS_S: Final = 180.0
_LEAVES_S: Final = 60.0
_POLL_S: Final = 0.1


def spawn() -> Iterator[Row]:
    """A fresh process, as the classifier's is: CUDA does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply_async(os.getpid).get(_STARTS_S)
    yield Row(
        "spawn",
        "ok" if other != os.getpid() else "failed",
        f"process {other} was spawned and has answered",
    )


def drain(config: Config) -> Iterator[Row]:
    """A worker that is told to stop in the middle of a scan hands it back or ends it, and leaves nothing behind."""
    with TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        broker = BrokerSettings(data=folder / "data")
        ends.enter_context(EmbeddedRedis(broker))
        workers = [_worker(folder, config, role, ends) for role in ("gpu", "courier")]
        store = OrderStore.connect(broker)
        order_id = _order(store, _slow_slide(folder / "slow.svs"))
        try:
            _until(
                lambda: _scan(store, order_id).state == ScanState.CLASSIFYING,
                _STARTS_S,
                "no worker took the scan",
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said last: {_last_words(folder)}") from None
        yield _stopped(store, order_id, workers)


def _stopped(store: OrderStore, order_id: str, workers: list[subprocess.Popen[bytes]]) -> Row:
    left = [child for worker in workers for child in _children(worker.pid)]
    began = time.monotonic()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    statuses = [worker.wait(_LEAVES_S) for worker in workers]
    took_s, scan = time.monotonic() - began, _scan(store, order_id)
    _until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in left),
        _LEAVES_S,
        "a child stayed behind",
    )
    told = any("asked to stop" in line["text"] for line in store.log(order_id))
    how = (
        "ended the scan in its grace"
        if scan.state == ScanState.CLASSIFIED
        else "handed the scan back"
    )
    said = f"told to stop (SIGTERM), worker and courier left in {took_s:.1f} s with {statuses}; the worker {how}"
    is_well = statuses == [0, 0] and (
        scan.state == ScanState.CLASSIFIED or (scan.state == ScanState.STAGED and told)
    )
    return Row(
        "drain",
        "ok" if is_well else "failed",
        said if is_well else f"{said}, and the scan is {scan.state}",
    )


def _worker(folder: Path, config: Config, role: str, ends: ExitStack) -> subprocess.Popen[bytes]:
    """One that knows only its folder, and this site's device. In our group: it ends where we are ended."""
    settings = {
        "broker": {"data": str(folder / "data"), "heartbeat_s": 1, "hint_again_s": 1},
        "worker": {
            "grace_s": _GRACE_S,
            "device": config.worker.device,
            "slides": {"roots": [str(folder)]},
        },
    }
    (folder / "config.json").write_text(json.dumps(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {f"{PREFIX}CONFIG": str(folder / "config.json")}
    command, log = (
        [sys.executable, "-m", "worker", role],
        ends.enter_context((folder / f"{role}.log").open("wb")),
    )
    worker = ends.enter_context(
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
    )
    ends.callback(worker.kill)
    return worker


def _last_words(folder: Path) -> str:
    return (folder / "gpu.log").read_text(errors="replace").strip().rpartition("\n")[2]


def _slow_slide(path: Path) -> Path:
    """Coloured noise on glass: more of it than a second classifies on a processor."""
    import tifffile

    rng, tiles = np.random.default_rng(0), (_EDGE_PX // _TILE_PX) ** 2
    tissue = rng.integers((120, 60, 110), (210, 150, 190), (_TILE_PX, _TILE_PX, 3), np.uint8)
    glass = np.full_like(tissue, 243)
    shape = (_EDGE_PX, _EDGE_PX, 3)
    described = f"Aperio Image Library v12\r\n{_EDGE_PX}x{_EDGE_PX}|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(
        path, (tissue if number % 2 else glass for number in range(tiles)), shape=shape, dtype=np.uint8,
        tile=(_TILE_PX, _TILE_PX), photometric="rgb", compression="jpeg", description=described, metadata=None,
    )  # fmt: skip
    return path


def _order(store: OrderStore, slide: Path) -> str:
    scan = {"id": "1", "source": {"type": "path", "path": str(slide)}}
    return store.create(
        OrderRequest.model_validate({"algorithm": "ki67", "scans": (scan,)}), queue="gpu"
    ).order_id


def _scan(store: OrderStore, order_id: str) -> Scan:
    return store.get(order_id).scans[0]


def _children(parent: int) -> list[int]:
    told = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in told.read_text().split()] if told.exists() else []


def _until(holds: Callable[[], bool], limit_s: float, else_said: str) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{else_said} within {limit_s:g} s")
        time.sleep(_POLL_S)
