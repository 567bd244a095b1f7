"""Removes what nobody is to keep any longer: orders that ended long ago, their files, slides long unused."""

import logging
import shutil
from pathlib import Path
from threading import Event

from broker.errors import TemporaryError
from broker.file_storage.interface import PAYLOADS, RESULTS
from broker.orders.order import SCAN_ENDED, parse_work_id
from worker.context import WorkerContext
from worker.inference import checkpoint

_EVERY_S = 60.0
_log = logging.getLogger(__name__)


def sweep(here: WorkerContext, stopped: Event) -> None:
    """Once a minute until `stopped`. Files go before their record: what is left of a sweep that died is swept again."""
    while not stopped.wait(_EVERY_S):
        try:
            release_slides(here)
            remove_unfinished(here)
            remove_left_behind(here)
            here.shelf.discard(here.config.worker.slides.keep_s)
            for order_id in here.store.deletable():
                remove_files(here, order_id)
                here.store.delete(order_id)
        except (TemporaryError, OSError) as error:
            _log.warning("the sweep waits: %s", error)


def release_slides(here: WorkerContext) -> None:
    """Slides that were kept for scans which have ended, or are known no longer, may be evicted."""
    for digest, work in here.shelf.wanted():
        if _has_ended(here, work):
            here.shelf.release(digest, work)


def remove_unfinished(here: WorkerContext) -> None:
    """What was found of scans that have ended since, or are known no longer. A worker still at one of them stops."""
    for folder, work in checkpoint.unfinished(here.storage.folder):
        if _has_ended(here, work):
            shutil.rmtree(folder, ignore_errors=True)


def _has_ended(here: WorkerContext, work: str) -> bool:
    order_id, index = parse_work_id(work)
    (order,) = here.store.get_many([order_id])
    return order is None or index is None or order.scans[index].state in SCAN_ENDED


def remove_left_behind(here: WorkerContext) -> None:
    """What this machine was making for orders that are known no longer, when a process of it died."""
    left = list(here.storage.unshared_orders())
    for order_id, order in zip(left, here.store.get_many(left), strict=True):
        if order is None:
            _remove_here(here.storage.folder, order_id)


def remove_files(here: WorkerContext, order_id: str) -> None:
    """Everything that belongs to the order, on this machine and for all of them."""
    _remove_here(here.storage.folder, order_id)
    here.storage.delete(order_id)


def _remove_here(folder: Path, order_id: str) -> None:
    shutil.rmtree(folder / RESULTS / order_id, ignore_errors=True)
    for unfinished in (folder / checkpoint.UNFINISHED).glob(f"{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for parcel in (folder / PAYLOADS).glob(f"{order_id}.*"):
        parcel.unlink(missing_ok=True)
    for unfinished in (folder / PAYLOADS).glob(f".{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
