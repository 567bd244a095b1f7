"""What is kept for nobody goes."""

from pathlib import Path
from threading import Event

import pytest
import requests

from broker.config import BrokerSettings, Config
from broker.request import OrderRequest
from broker.storage import storage
from broker.store import OrderStore
from worker.bench import Bench
from worker.checkpoint import UNFINISHED
from worker.deliver.circuit import Circuits
from worker.sandbox import Sandbox
from worker.shelf import Shelf
from worker.sources import Means
from worker.sweep import release_slides, remove_files, remove_unfinished

DIGEST = "ab" + "0" * 62


@pytest.fixture
def here(broker_settings: BrokerSettings, store: OrderStore) -> Bench:
    shelf = Shelf(broker_settings.data / "shelf", 1000)
    config = Config(broker=broker_settings)
    means = Means(shelf, requests.Session(), Sandbox(threads=1), config.worker)
    return Bench(config, store, means, Event(), Circuits(at_once=1), storage(config.broker))


def on_shelf(here: Bench) -> Path:
    slide = here.data / "shelf" / DIGEST[:2] / DIGEST / "slide.tif"
    slide.parent.mkdir(parents=True)
    slide.write_bytes(b"x" * 900)
    return slide


def an_order(store: OrderStore) -> str:
    scan = {"id": "1", "source": {"type": "path", "path": "/a.svs"}}
    return store.create(OrderRequest.model_validate({"algorithm": "grid", "scans": (scan,)}), lane="gpu").order_id


def test_a_slide_is_kept_for_its_scan_and_no_longer(here: Bench) -> None:
    """While the scan waits the shelf is full; once the order ended, the slide may go."""
    slide, order_id = on_shelf(here), an_order(here.store)
    here.shelf.want(DIGEST, f"{order_id}.0")
    release_slides(here)
    assert here.shelf.wanted() == [(DIGEST, f"{order_id}.0")]
    here.store.cancel(order_id)
    release_slides(here)
    assert here.shelf.wanted() == []
    assert slide.exists()


def test_a_promise_to_an_order_that_is_unknown_is_void(here: Bench) -> None:
    """Nobody will come for it."""
    on_shelf(here)
    here.shelf.want(DIGEST, "gone.0")
    release_slides(here)
    assert here.shelf.wanted() == []


def test_unfinished_work_goes_with_the_end_of_its_scan(here: Bench) -> None:
    """While the scan may be taken up again it stays; ended, or unknown, it is nobody's, whatever the order's age."""
    goes_on, cancelled = an_order(here.store), an_order(here.store)
    for name in (f"{goes_on}.0.1", f"{cancelled}.0.1", f"{cancelled}.0.3", "gone.0.1", "no.work.of-ours"):
        (here.data / UNFINISHED / name / "found").mkdir(parents=True)
    here.store.cancel(cancelled)
    remove_unfinished(here)
    left = {path.name for path in (here.data / UNFINISHED).iterdir()}
    assert left == {f"{goes_on}.0.1", "no.work.of-ours"}


def test_the_files_of_an_order_go_and_those_of_others_stay(here: Bench) -> None:
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
    assert [str(p.relative_to(here.data)) for p in here.data.rglob("*.json")] == ["results/b/0.1/results.json"]
    assert not (here.data / "parcels" / "a.123").exists()
