"""The stages of one scan: what stays on the disk between them, and what its record says."""

import errno
import json
import re
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from broker.errors import Problem
from broker.order_store import Claim, OrderStore, TaskMessage
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.order import Order, Stage
from broker.orders.request import OrderRequest
from broker.settings.config import (
    AlgorithmSettings,
    BrokerSettings,
    Config,
    ConfigError,
    SlidesSettings,
    WorkerSettings,
)
from tests.support.orders import classify, taken
from tests.support.slides import a_picture, a_slide
from worker import stages, tasks
from worker.algorithms import registry
from worker.context import WorkerContext, build_context
from worker.inference.checkpoint import UNFINISHED
from worker.process.lease import Lease, Limits


@pytest.fixture
def context(broker_settings: BrokerSettings, store: OrderStore, tmp_path: Path) -> WorkerContext:
    """A context with the grid algorithm and a folder of slides."""
    worker = WorkerSettings(
        slides=SlidesSettings(roots=(tmp_path,)),
        device="cpu",
        threads=1,
        algorithms={"grid": AlgorithmSettings(kind="grid")},
    )
    return build_context(Config(broker=broker_settings, worker=worker), store)


def an_order(context: WorkerContext, slide: Path) -> str:
    scan = {"id": "a", "source": {"type": "path", "path": str(slide)}}
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": [scan]}, strict=False)
    return context.store.create(request, queue="gpu").order_id


def run_stage(context: WorkerContext, order_id: str, stage: Stage) -> None:
    """Run one stage of the order's only scan, from its claim to its end."""
    claim = claimed(context, order_id, stage)
    settings = context.config.broker
    with Lease(context.store, claim, settings, Limits(60, 60), context.leaving, _must_not) as lease:
        if stage == "fetch":
            stages.fetch(context, claim, lease)
        else:
            stages.classify(context, claim, lease)


def claimed(context: WorkerContext, order_id: str, stage: Stage) -> Claim:
    claim = context.store.claim(f"{order_id}.0", stage, "w")
    assert claim
    return claim


def _must_not(problem: Problem) -> None:
    raise AssertionError(problem)


def unfinished(context: WorkerContext, order_id: str, fence: int) -> Path:
    folder = context.data / UNFINISHED / f"{order_id}.0.{fence}"
    (folder / "found").mkdir(parents=True)
    return folder


def test_a_scan_that_is_asked_for_once_more_is_begun_anew(
    context: WorkerContext, tmp_path: Path
) -> None:
    """What a failed attempt found may be why it failed: the next fetch removes it."""
    order_id = an_order(context, a_slide(tmp_path / "a.svs", a_picture(300, 200)))
    run_stage(context, order_id, "fetch")
    claim = claimed(context, order_id, "classify")
    folder = unfinished(context, order_id, claim.fence)
    context.store.finish(claim, "failed", problem=Problem("bug", "it broke"))
    context.store.retry(order_id)
    assert folder.exists()
    run_stage(context, order_id, "fetch")
    assert not folder.exists()
    # Unfinished work on another machine is recognized by that.
    assert context.store.get(order_id).scans[0].staged_by > claim.fence


def test_a_classified_scan_leaves_nothing_unfinished_and_says_where_its_time_went(
    context: WorkerContext, tmp_path: Path
) -> None:
    """Both stages are in its timings, and one line of the log names the bottleneck."""
    order_id = an_order(context, a_slide(tmp_path / "a.svs", a_picture(300, 200)))
    run_stage(context, order_id, "fetch")
    unfinished(context, order_id, 1)
    run_stage(context, order_id, "classify")
    assert list((context.data / UNFINISHED).iterdir()) == []
    (scan,) = context.store.get(order_id).scans
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
    kept = [path for path in (context.data / scan.result).rglob("*") if path.is_file()]
    assert scan.timings["kept_bytes"] == sum(path.stat().st_size for path in kept)
    texts = [line["text"] for line in context.store.log(order_id)]
    line = r"scan a: classified in \d+\.\d s; bottleneck: (fetch|read|model|write)"
    assert sum(bool(re.fullmatch(line, text)) for text in texts) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_is_waited_for(
    context: WorkerContext, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shared folder does whose server is away: the order waits and says why."""
    order = failed_fetch(context, OSError(number, "of a shared folder"), monkeypatch)
    assert order.scans[0].state == "queued"
    assert any(
        "storage_unreachable: the disk with" in line["text"] for line in context.store.log(order.id)
    )


def test_a_file_that_is_missing_without_a_reason_is_a_bug(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown as one, and not tried for as long as the order lives."""
    order = failed_fetch(context, FileNotFoundError(errno.ENOENT, "no such file"), monkeypatch)
    assert (order.scans[0].state, order.scans[0].error and order.scans[0].error["code"]) == (
        "failed",
        "bug",
    )


def test_a_scan_waits_while_its_algorithm_cannot_be_loaded(
    context: WorkerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker may run it, or this one once the setting is right; the log names it, and no
    attempt is used up."""
    order_id = an_order(context, a_slide(tmp_path / "a.svs", a_picture(300, 200)))
    run_stage(context, order_id, "fetch")

    def load(*_: object, **_more: object) -> None:
        raise ConfigError("worker.algorithms.grid.folder: the network answers shape (1, 3)")

    monkeypatch.setattr(registry, "load", load)
    tasks.run_stage(context, claimed(context, order_id, "classify"))
    (scan,) = context.store.get(order_id).scans
    assert (scan.state, scan.attempts, scan.error) == ("staged", 0, None)
    said = [line["text"] for line in context.store.log(order_id)]
    reason = "algorithm_unavailable: worker.algorithms.grid.folder: the network answers"
    assert any(reason in line for line in said)


def failed_fetch(context: WorkerContext, error: OSError, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Return an order after its fetch ended with the error."""

    def fetch(*_: object) -> tuple[TaskMessage, ...]:
        raise error

    monkeypatch.setattr(stages, "fetch", fetch)
    order_id = an_order(context, Path("/a.svs"))
    tasks.run_stage(context, claimed(context, order_id, "fetch"))
    return context.store.get(order_id)


@pytest.mark.parametrize(
    ("stage", "end"), [("fetch", "failed"), ("classify", "failed"), ("deliver", "undelivered")]
)
def test_work_that_cannot_be_read_is_skipped(
    context: WorkerContext, redis_url: str, stage: Stage, end: str
) -> None:
    """Its order was encrypted with another key: it ends at once, by the platform's fault, and
    nothing of it waits for another worker."""
    order_id = an_order(context, Path("/slides/a.svs"))
    if stage == "classify":
        context.store.finish(taken(context.store, f"{order_id}.0", "fetch"), "staged")
    elif stage == "deliver":
        classify(context.store, order_id)
    records = RedisClient(RedisUrl.at(redis_url)).records
    sealed = Fernet(Fernet.generate_key()).encrypt(b"{}").decode()
    records.hset(f"sl:order:{order_id}", "request", f"sealed:{sealed}")
    work = order_id
    if stage != "deliver":
        work = f"{order_id}.0"
    assert tasks.run_stage(context, taken(context.store, work, stage)).messages == ()
    assert records.hget(f"sl:order:{order_id}", "state") == end
    key = f"sl:order:{order_id}"
    if stage != "deliver":
        key = f"sl:scan:{work}"
    problem = json.loads(records.hget(key, "error"))
    assert (problem["code"], problem["blame"]) == ("sealed_with_another_key", "platform")
    assert [queue.waiting for queue in context.store.queues() if queue.waiting] == []
    assert context.store.due() == ()
