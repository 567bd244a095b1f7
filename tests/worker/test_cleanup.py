"""What is no longer needed is removed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.file_storage.s3 import S3Storage
from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config, SlidesSettings, WorkerSettings
from tests.support.s3 import BUCKET, S3Server
from worker.cleanup import (
    clean_up,
    release_slides,
    remove_deleted,
    remove_files,
    remove_left_behind,
    remove_unfinished,
)
from worker.context import WorkerContext, build_context
from worker.inference.checkpoint import UNFINISHED

DIGEST = "ab" + "0" * 62


@pytest.fixture
def context(broker_settings: BrokerSettings, store: OrderStore) -> WorkerContext:
    slides = SlidesSettings(max_bytes=1000)
    config = Config(broker=broker_settings, worker=WorkerSettings(slides=slides))
    return build_context(config, store)


def a_cached_slide(context: WorkerContext) -> Path:
    slide = context.data / "shelf" / DIGEST[:2] / DIGEST / "slide.tif"
    slide.parent.mkdir(parents=True)
    slide.write_bytes(b"x" * 900)
    return slide


def an_order(store: OrderStore) -> str:
    scan = {"id": "1", "source": {"type": "path", "path": "/a.svs"}}
    return store.create(
        OrderRequest.model_validate({"algorithm": "grid", "scans": (scan,)}), queue="gpu"
    ).order_id


def test_a_slide_is_kept_for_its_scan_and_no_longer(context: WorkerContext) -> None:
    """While the scan waits, its slide stays; once the order ended, it may be evicted."""
    slide = a_cached_slide(context)
    order_id = an_order(context.store)
    context.slide_cache.add_hold(DIGEST, f"{order_id}.0")
    release_slides(context)
    assert context.slide_cache.holds() == [(DIGEST, f"{order_id}.0")]
    context.store.cancel(order_id)
    release_slides(context)
    assert context.slide_cache.holds() == []
    assert slide.exists()


def test_a_promise_to_an_order_that_is_unknown_is_void(context: WorkerContext) -> None:
    """No scan will need the slide."""
    a_cached_slide(context)
    context.slide_cache.add_hold(DIGEST, "gone.0")
    release_slides(context)
    assert context.slide_cache.holds() == []


def test_unfinished_work_goes_with_the_end_of_its_scan(context: WorkerContext) -> None:
    """It stays while the scan may be resumed, and goes once that ended or is unknown."""
    goes_on = an_order(context.store)
    cancelled = an_order(context.store)
    for name in (
        f"{goes_on}.0.1",
        f"{cancelled}.0.1",
        f"{cancelled}.0.3",
        "gone.0.1",
        "no.work.of-ours",
    ):
        (context.data / UNFINISHED / name / "found").mkdir(parents=True)
    context.store.cancel(cancelled)
    remove_unfinished(context)
    left = {path.name for path in (context.data / UNFINISHED).iterdir()}
    assert left == {f"{goes_on}.0.1", "no.work.of-ours"}


def test_the_files_of_an_order_go_and_those_of_others_stay(context: WorkerContext) -> None:
    """Results of every attempt, and the payload."""
    for name in (
        "results/a/0.1/results.json",
        "results/a/0.2/results.json",
        "results/b/0.1/results.json",
        "results/.unfinished/a.0.3/point.json",
        "parcels/a.123",
    ):
        path = context.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_files(context, "a")
    assert [str(p.relative_to(context.data)) for p in context.data.rglob("*.json")] == [
        "results/b/0.1/results.json"
    ]
    assert not (context.data / "parcels" / "a.123").exists()


def test_the_files_of_a_deleted_order_go_at_once_and_again(context: WorkerContext) -> None:
    """A worker that held one of its scans may write a result late, and that is removed as well."""
    order_id = an_order(context.store)
    context.store.cancel(order_id)
    result = context.storage.folder / "results" / order_id / "0.3" / "results.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    context.store.delete_with_files(order_id, "somebody")
    remove_deleted(context)
    assert not result.exists()
    result.parent.mkdir(parents=True)
    remove_deleted(context)
    assert not result.parent.exists()
    assert remove_deleted(context, [order_id]) == []
    context.store.forget_deleted(-1)
    assert context.store.deleted() == []


@pytest.fixture
def before_a_bucket(
    context: WorkerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[WorkerContext, S3Server]]:
    """A context whose storage is a bucket, and the bucket's server."""
    with S3Server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield (
            replace(context, storage=S3Storage(f"s3://{BUCKET}/site", tmp_path / "unsent")),
            server,
        )


def test_an_order_that_is_forgotten_leaves_nothing_in_a_bucket(
    before_a_bucket: tuple[WorkerContext, S3Server],
) -> None:
    """Nor on this machine, where an attempt was killed half-way; other orders stay."""
    context, server = before_a_bucket
    for key in ("results/a/0.1", "results/a/0.2", "results/ab/0.1", "parcels/a.0f"):
        path = context.storage.folder / key
        if key.startswith("results"):
            path = path / "overlay.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        context.storage.share(key, lambda _done, _total: None)
    (context.storage.folder / "results/a/0.3").mkdir(parents=True)
    remove_files(context, "a")
    assert server.below("site") == {"results/ab/0.1/overlay.png"}
    assert not (context.storage.folder / "results/a").exists()


def test_what_was_never_sent_goes_once_its_order_is_forgotten(
    before_a_bucket: tuple[WorkerContext, S3Server],
) -> None:
    """Each machine clears its own disk, and leaves what a known order may still be making."""
    context, _ = before_a_bucket
    known = an_order(context.store)
    for order_id in (known, "gone"):
        for name in (
            f"results/{order_id}/0.1",
            f"results/{order_id}/.0.2-x",
            f"parcels/.{order_id}.x",
        ):
            (context.storage.folder / name).mkdir(parents=True)
        (context.storage.folder / f"parcels/{order_id}.0f").touch()
    remove_left_behind(context)
    left = {
        str(path.relative_to(context.storage.folder)) for path in context.storage.folder.glob("*/*")
    }
    assert left == {f"results/{known}", f"parcels/.{known}.x", f"parcels/{known}.0f"}


def test_a_damaged_order_is_cleaned_up_like_any_other(
    context: WorkerContext, redis_url: str
) -> None:
    """While nobody knows whether it has ended, nothing of it goes; once its time is over, all."""
    a_cached_slide(context)
    order_id = an_order(context.store)
    context.slide_cache.add_hold(DIGEST, f"{order_id}.0")
    unfinished = context.data / UNFINISHED / f"{order_id}.0.1"
    unfinished.mkdir(parents=True)
    records = RedisClient(RedisUrl.at(redis_url)).records
    records.hset(f"sl:order:{order_id}", mapping={"request": "{", "labels": "{", "scans": "x"})
    clean_up(context)
    assert unfinished.exists()
    assert context.slide_cache.holds() == [(DIGEST, f"{order_id}.0")]
    records.zadd("sl:ended", {order_id: 1})
    clean_up(context)
    assert not unfinished.exists()
    assert records.exists(f"sl:order:{order_id}") == 0
    clean_up(context)
    assert context.slide_cache.holds() == []
