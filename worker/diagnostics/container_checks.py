"""Checks that only a trial can make: a container can spawn processes and stop a worker cleanly.

The trial runs a Redis, a courier and a worker of its own in a temporary folder. It never touches
those of the service.
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
_START_LIMIT_S: Final = 180.0
_STOP_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.1


def spawn() -> Iterator[Row]:
    """Start a fresh process, as the classifier's is started: CUDA does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pid = pool.apply_async(os.getpid).get(_START_LIMIT_S)
    text = f"process {pid} was spawned and has answered"
    if pid == os.getpid():
        yield Row("spawn", "failed", text)
    else:
        yield Row("spawn", "ok", text)


def drain(config: Config) -> Iterator[Row]:
    """Stop a worker in the middle of a scan.

    It must give the scan back or finish it, and leave no process behind.
    """
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        broker = BrokerSettings(data=folder / "data")
        stack.enter_context(EmbeddedRedis(broker))
        workers = [_start_worker(folder, config, role, stack) for role in ("gpu", "courier")]
        store = OrderStore.connect(broker)
        order_id = _place_order(store, _make_slow_slide(folder / "slow.svs"))
        try:
            _wait_until(
                lambda: _scan(store, order_id).state == ScanState.CLASSIFYING,
                _START_LIMIT_S,
                "no worker took the scan",
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said last: {_last_log_line(folder)}") from None
        yield _stop_workers(store, order_id, workers)


def _stop_workers(store: OrderStore, order_id: str, workers: list[subprocess.Popen[bytes]]) -> Row:
    children = [child for worker in workers for child in _children(worker.pid)]
    began_at = time.monotonic()
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    statuses = [worker.wait(_STOP_LIMIT_S) for worker in workers]
    took_s = time.monotonic() - began_at
    scan = _scan(store, order_id)
    _wait_until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in children),
        _STOP_LIMIT_S,
        "a child stayed behind",
    )
    was_finished = scan.state == ScanState.CLASSIFIED
    was_given_back = scan.state == ScanState.STAGED and any(
        "asked to stop" in line["text"] for line in store.log(order_id)
    )
    end = "handed the scan back"
    if was_finished:
        end = "ended the scan in its grace"
    text = (
        f"told to stop (SIGTERM), worker and courier left in {took_s:.1f} s with {statuses}; "
        f"the worker {end}"
    )
    if statuses == [0, 0] and (was_finished or was_given_back):
        return Row("drain", "ok", text)
    return Row("drain", "failed", f"{text}, and the scan is {scan.state}")


def _start_worker(
    folder: Path, config: Config, role: str, stack: ExitStack
) -> subprocess.Popen[bytes]:
    """Start a worker that knows only the folder and this machine's device.

    It stays in our process group, so that it ends if we are ended from outside.
    """
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
    environment[f"{PREFIX}CONFIG"] = str(folder / "config.json")
    command = [sys.executable, "-m", "worker", role]
    log = stack.enter_context((folder / f"{role}.log").open("wb"))
    worker = stack.enter_context(
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
    )
    stack.callback(worker.kill)
    return worker


def _last_log_line(folder: Path) -> str:
    return (folder / "gpu.log").read_text(errors="replace").strip().rpartition("\n")[2]


def _make_slow_slide(path: Path) -> Path:
    """Write a slide with more tissue than a CPU classifies in a second; return its path.

    Every second tile is coloured noise, the others are glass.
    """
    import tifffile

    rng = np.random.default_rng(0)
    tissue = rng.integers((120, 60, 110), (210, 150, 190), (_TILE_PX, _TILE_PX, 3), np.uint8)
    glass = np.full_like(tissue, 243)
    tiles = (_EDGE_PX // _TILE_PX) ** 2
    tifffile.imwrite(
        path,
        (tissue if number % 2 else glass for number in range(tiles)),
        shape=(_EDGE_PX, _EDGE_PX, 3),
        dtype=np.uint8,
        tile=(_TILE_PX, _TILE_PX),
        photometric="rgb",
        compression="jpeg",
        description=f"Aperio Image Library v12\r\n{_EDGE_PX}x{_EDGE_PX}|AppMag = 20|MPP = 0.5",
        metadata=None,
    )
    return path


def _place_order(store: OrderStore, slide: Path) -> str:
    scan = {"id": "1", "source": {"type": "path", "path": str(slide)}}
    request = OrderRequest.model_validate({"algorithm": "ki67", "scans": (scan,)})
    return store.create(request, queue="gpu").order_id


def _scan(store: OrderStore, order_id: str) -> Scan:
    return store.get(order_id).scans[0]


def _children(pid: int) -> list[int]:
    """Return the child processes; none where the kernel does not list them."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    if not file.exists():
        return []
    return [int(child) for child in file.read_text().split()]


def _wait_until(condition: Callable[[], bool], limit_s: float, failure: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{failure} within {limit_s:g} s")
        time.sleep(_POLL_S)
