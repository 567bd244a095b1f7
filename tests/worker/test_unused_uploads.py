"""Uploads that nobody uses are removed, and none that an order still needs."""

import os
import time
from pathlib import Path

import pytest

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, Config
from broker.uploads import UploadLimits
from worker.cleanup import clean_up
from worker.context import WorkerContext, build_context

LIMITS = UploadLimits(max_bytes=1000, per_caller=10, per_caller_bytes=10**6)
DAY_S = 86400


@pytest.fixture
def context(broker_settings: BrokerSettings, store: OrderStore) -> WorkerContext:
    return build_context(Config(broker=broker_settings), store)


def an_upload(context: WorkerContext, *, unused_s: float, came: bool = True) -> str:
    """A file that was used so long ago; where it has not come, of 3 bytes that are missing."""
    status = context.uploads.create("clerk", 3, "a.svs", "", LIMITS)
    if came:
        writer = context.uploads.open_writer(status.id, "clerk", 0)
        writer.write(b"abc")
        writer.close()
    age(folder_of(context, status.set_id), unused_s)
    return status.set_id


def folder_of(context: WorkerContext, set_id: str) -> Path:
    return context.config.broker.uploads_folder / set_id


def age(folder: Path, unused_s: float) -> None:
    then = time.time() - unused_s
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def an_order(store: OrderStore, upload: str) -> str:
    scan = {"id": "1", "source": {"type": "upload", "upload": upload}}
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": (scan,)})
    return store.create(request, queue="gpu").order_id


def test_an_unused_upload_is_removed(context: WorkerContext) -> None:
    """A day after the last use, whole or not; a younger one stays, and nothing else is left."""
    old = [an_upload(context, unused_s=DAY_S + 60, came=came) for came in (True, False)]
    young = an_upload(context, unused_s=DAY_S - 60)
    (context.config.broker.uploads_folder / ".removed-x").mkdir()
    clean_up(context)
    assert [folder_of(context, one).exists() for one in (*old, young)] == [False, False, True]
    names = {path.name for path in context.config.broker.uploads_folder.iterdir()}
    assert names == {young, "lock"}
    with pytest.raises(OrderError) as caught:
        context.uploads.files(old[0])
    assert caught.value.code == "upload_not_found"


def test_an_upload_stays_while_an_order_needs_it(context: WorkerContext) -> None:
    """However long the order waits, by either id; after its end the upload has another day."""
    for form in ("{}", "{}-0"):
        set_id = an_upload(context, unused_s=DAY_S + 60)
        order_id = an_order(context.store, form.format(set_id))
        clean_up(context)
        assert context.uploads.files(set_id)
        context.store.cancel(order_id)
        age(folder_of(context, set_id), DAY_S - 60)
        clean_up(context)
        assert context.uploads.files(set_id)
        age(folder_of(context, set_id), DAY_S + 60)
        clean_up(context)
        assert not folder_of(context, set_id).exists()


def test_every_use_counts(context: WorkerContext) -> None:
    """Sending to it, ordering it: then the sweep that has begun lets it be."""
    set_id = an_upload(context, unused_s=DAY_S + 60, came=False)
    writer = context.uploads.open_writer(set_id, "clerk", 0)
    writer.write(b"abc")
    writer.close()
    assert context.uploads.unused(DAY_S) == []
    age(folder_of(context, set_id), DAY_S + 60)
    assert context.uploads.unused(DAY_S) == [set_id]
    context.uploads.require_whole(set_id, "clerk")
    assert not context.uploads.remove_unused(set_id, DAY_S)
    assert context.uploads.files(set_id)


def test_what_is_damaged_is_removed_too(context: WorkerContext) -> None:
    """A set whose API was killed before it wrote the manifest, and one that is no JSON."""
    damaged = [an_upload(context, unused_s=0) for _ in range(2)]
    (folder_of(context, damaged[0]) / "upload.json").unlink()
    (folder_of(context, damaged[1]) / "upload.json").write_text("{")
    for set_id in damaged:
        age(folder_of(context, set_id), DAY_S + 60)
    clean_up(context)
    assert context.uploads.unused(0) == []
