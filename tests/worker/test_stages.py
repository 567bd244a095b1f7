"""The stages of one scan on a real bench: what stays on the disk between them, and what the record says of its time."""

import errno
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import Problem
from broker.file_storage import open_storage
from broker.order_store import OrderStore, TaskMessage
from broker.orders.order import Order
from broker.orders.request import OrderRequest
from broker.settings.config import (
    AlgorithmSettings,
    BrokerSettings,
    Config,
    SlidesSettings,
    WorkerSettings,
)
from tests.support.slides import a_picture, a_slide
from worker import stages, tasks
from worker.context import WorkerContext
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.http_session import session
from worker.inference.checkpoint import UNFINISHED
from worker.process.lease import Lease, Limits
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools

StageFunction = Callable[..., Any]


@pytest.fixture
def here(broker_settings: BrokerSettings, store: OrderStore, tmp_path: Path) -> WorkerContext:
    """A bench with the grid algorithm and a folder of slides."""
    slides = SlidesSettings(roots=(tmp_path,))
    config = Config(broker=broker_settings, worker=WorkerSettings(slides=slides, device="cpu",
                    algorithms={"grid": AlgorithmSettings(kind="grid")}))  # fmt: skip
    http = session([], connect_timeout_s=1, read_timeout_s=1)
    means = FetchTools(
        SlideCache(broker_settings.data / "shelf", 10**9), http, Sandbox(threads=1), config.worker
    )
    return WorkerContext(
        config,
        store,
        means,
        threading.Event(),
        CircuitBreakers(at_once=1),
        open_storage(config.broker),
    )


def an_order(here: WorkerContext, slide: Path) -> str:
    scan = {"id": "a", "source": {"type": "path", "path": str(slide)}}
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": [scan]}, strict=False)
    return here.store.create(request, queue="gpu").order_id


def done(here: WorkerContext, order_id: str, name: Any, stage: StageFunction) -> None:
    """One stage of the order's only scan, from its claim to its end."""
    claim = here.store.claim(f"{order_id}.0", name, "w")
    assert claim
    with Lease(
        here.store, claim, here.config.broker, Limits(60, 60), here.leaving, _must_not
    ) as lease:
        stage(here, claim, lease)


def _must_not(problem: Problem) -> None:
    raise AssertionError(problem)


def unfinished(here: WorkerContext, order_id: str, fence: int) -> Path:
    folder = here.data / UNFINISHED / f"{order_id}.0.{fence}"
    (folder / "found").mkdir(parents=True)
    return folder


def test_a_scan_that_is_asked_for_once_more_is_begun_anew(
    here: WorkerContext, tmp_path: Path
) -> None:
    """What a failed attempt found may be why it failed: the fetch of the next life removes it."""
    order_id = an_order(here, a_slide(tmp_path / "a.svs", a_picture(300, 200)))
    done(here, order_id, "fetch", stages.fetch)
    claim = here.store.claim(f"{order_id}.0", "classify", "w")
    assert claim
    folder = unfinished(here, order_id, claim.fence)
    here.store.finish(claim, "failed", problem=Problem("bug", "it broke"))
    here.store.retry(order_id)
    assert folder.exists()
    done(here, order_id, "fetch", stages.fetch)
    assert not folder.exists()
    assert (
        here.store.get(order_id).scans[0].staged_by > claim.fence
    )  # a folder on another machine is told by that


def test_a_classified_scan_leaves_nothing_unfinished_and_says_where_its_time_went(
    here: WorkerContext, tmp_path: Path
) -> None:
    """Both stages are in its timings, and one line of the log names the bottleneck."""
    order_id = an_order(here, a_slide(tmp_path / "a.svs", a_picture(300, 200)))
    done(here, order_id, "fetch", stages.fetch)
    unfinished(here, order_id, 1)
    done(here, order_id, "classify", stages.classify)
    assert list((here.data / UNFINISHED).iterdir()) == []
    (scan,) = here.store.get(order_id).scans
    assert {
        "fetch_s",
        "bytes",
        "load_s",
        "open_s",
        "model_s",
        "draw_s",
        "keep_s",
        "classify_s",
        "kept_bytes",
    } <= set(scan.timings)
    kept = [path for path in (here.data / scan.result).rglob("*") if path.is_file()]
    assert scan.timings["kept_bytes"] == sum(path.stat().st_size for path in kept)
    told = [line["text"] for line in here.store.log(order_id)]
    line = r"scan a: classified in \d+\.\d s; bottleneck: (fetch|read|model|write)"
    assert sum(bool(re.fullmatch(line, text)) for text in told) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_is_waited_for(here: WorkerContext, number: int) -> None:
    """As a shared folder does whose server is away: no fault of the order's, which waits and says why."""
    order = failed_fetch(here, OSError(number, "of a shared folder"))
    assert order.scans[0].state == "queued"
    assert any(
        "storage_unreachable: the disk with" in line["text"] for line in here.store.log(order.id)
    )


def test_a_file_that_is_missing_without_a_reason_is_a_bug(here: WorkerContext) -> None:
    """It is shown as one, and not tried for as long as the order lives."""
    order = failed_fetch(here, FileNotFoundError(errno.ENOENT, "no such file"))
    assert (order.scans[0].state, order.scans[0].error and order.scans[0].error["code"]) == (
        "failed",
        "bug",
    )


def failed_fetch(here: WorkerContext, error: OSError) -> Order:
    """An order after a fetch that ended so."""

    def step(*_: object) -> tuple[TaskMessage, ...]:
        raise error

    order_id = an_order(here, Path("/a.svs"))
    claim = here.store.claim(f"{order_id}.0", "fetch", "w")
    assert claim
    tasks._do(here, claim, step)
    return here.store.get(order_id)
