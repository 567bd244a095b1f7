"""What is kept for nobody goes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import requests

from broker.file_storage import open_storage
from broker.file_storage.s3 import S3Storage
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config
from tests.support.s3 import BUCKET, S3Server
from worker.cleanup import release_slides, remove_files, remove_left_behind, remove_unfinished
from worker.context import WorkerContext
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.inference.checkpoint import UNFINISHED
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools

DIGEST = "ab" + "0" * 62


@pytest.fixture
def here(broker_settings: BrokerSettings, store: OrderStore) -> WorkerContext:
    shelf = SlideCache(broker_settings.data / "shelf", 1000)
    config = Config(broker=broker_settings)
    means = FetchTools(shelf, requests.Session(), Sandbox(threads=1), config.worker)
    return WorkerContext(
        config, store, means, Event(), CircuitBreakers(at_once=1), open_storage(config.broker)
    )


def on_shelf(here: WorkerContext) -> Path:
    slide = here.data / "shelf" / DIGEST[:2] / DIGEST / "slide.tif"
    slide.parent.mkdir(parents=True)
    slide.write_bytes(b"x" * 900)
    return slide


def an_order(store: OrderStore) -> str:
    scan = {"id": "1", "source": {"type": "path", "path": "/a.svs"}}
    return store.create(
        OrderRequest.model_validate({"algorithm": "grid", "scans": (scan,)}), queue="gpu"
    ).order_id


def test_a_slide_is_kept_for_its_scan_and_no_longer(here: WorkerContext) -> None:
    """While the scan waits the shelf is full; once the order ended, the slide may go."""
    slide, order_id = on_shelf(here), an_order(here.store)
    here.shelf.want(DIGEST, f"{order_id}.0")
    release_slides(here)
    assert here.shelf.wanted() == [(DIGEST, f"{order_id}.0")]
    here.store.cancel(order_id)
    release_slides(here)
    assert here.shelf.wanted() == []
    assert slide.exists()


def test_a_promise_to_an_order_that_is_unknown_is_void(here: WorkerContext) -> None:
    """Nobody will come for it."""
    on_shelf(here)
    here.shelf.want(DIGEST, "gone.0")
    release_slides(here)
    assert here.shelf.wanted() == []


def test_unfinished_work_goes_with_the_end_of_its_scan(here: WorkerContext) -> None:
    """While the scan may be taken up again it stays; ended, or unknown, it is nobody's, whatever the order's age."""
    goes_on, cancelled = an_order(here.store), an_order(here.store)
    for name in (
        f"{goes_on}.0.1",
        f"{cancelled}.0.1",
        f"{cancelled}.0.3",
        "gone.0.1",
        "no.work.of-ours",
    ):
        (here.data / UNFINISHED / name / "found").mkdir(parents=True)
    here.store.cancel(cancelled)
    remove_unfinished(here)
    left = {path.name for path in (here.data / UNFINISHED).iterdir()}
    assert left == {f"{goes_on}.0.1", "no.work.of-ours"}


def test_the_files_of_an_order_go_and_those_of_others_stay(here: WorkerContext) -> None:
    """Results of every attempt, and the parcel."""
    for name in (
        "results/a/0.1/results.json",
        "results/a/0.2/results.json",
        "results/b/0.1/results.json",
        "results/.unfinished/a.0.3/point.json",
        "parcels/a.123",
    ):
        path = here.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_files(here, "a")
    assert [str(p.relative_to(here.data)) for p in here.data.rglob("*.json")] == [
        "results/b/0.1/results.json"
    ]
    assert not (here.data / "parcels" / "a.123").exists()


@pytest.fixture
def before_a_bucket(
    here: WorkerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[WorkerContext, S3Server]]:
    """A bench whose storage is a bucket."""
    with S3Server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield replace(here, storage=S3Storage(f"s3://{BUCKET}/site", tmp_path / "unsent")), server


def test_an_order_that_is_forgotten_leaves_nothing_in_a_bucket(
    before_a_bucket: tuple[WorkerContext, S3Server],
) -> None:
    """Nor on this machine, where an attempt was killed before it had sent all; what another order has stays."""
    here, server = before_a_bucket
    for key in ("results/a/0.1", "results/a/0.2", "results/ab/0.1", "parcels/a.0f"):
        path = (
            here.storage.folder / key / "overlay.png"
            if "results" in key
            else here.storage.folder / key
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        here.storage.share(key, lambda _done, _total: None)
    (here.storage.folder / "results/a/0.3").mkdir(parents=True)
    remove_files(here, "a")
    assert server.below("site") == {"results/ab/0.1/overlay.png"}
    assert not (here.storage.folder / "results/a").exists()


def test_what_was_never_sent_goes_once_its_order_is_forgotten(
    before_a_bucket: tuple[WorkerContext, S3Server],
) -> None:
    """Whoever forgot it: each machine clears its own disk, and leaves what a known order may still be making."""
    here, _ = before_a_bucket
    known = an_order(here.store)
    for order_id in (known, "gone"):
        for name in (
            f"results/{order_id}/0.1",
            f"results/{order_id}/.0.2-x",
            f"parcels/.{order_id}.x",
        ):
            (here.storage.folder / name).mkdir(parents=True)
        (here.storage.folder / f"parcels/{order_id}.0f").touch()
    remove_left_behind(here)
    left = {str(path.relative_to(here.storage.folder)) for path in here.storage.folder.glob("*/*")}
    assert left == {f"results/{known}", f"parcels/.{known}.x", f"parcels/{known}.0f"}
