"""Removes what nobody is to keep any longer: orders that ended long ago, their files, slides long unused."""

import logging
import shutil
from threading import Event

from broker.errors import TemporaryError
from broker.order import SCAN_ENDED, parse_work_id
from worker import checkpoint
from worker.bench import Bench

_EVERY_S = 60.0
_log = logging.getLogger(__name__)


def sweep(here: Bench, stopped: Event) -> None:
    """Once a minute until `stopped`. Files go before their record: what is left of a sweep that died is swept again."""
    while not stopped.wait(_EVERY_S):
        try:
            release_slides(here)
            remove_unfinished(here)
            here.shelf.discard(here.config.worker.slides.keep_s)
            for order_id in here.store.forgettable():
                remove_files(here, order_id)
                here.store.forget(order_id)
        except (TemporaryError, OSError) as error:
            _log.warning("the sweep waits: %s", error)


def release_slides(here: Bench) -> None:
    """Slides that were kept for scans which have ended, or are known no longer, may be evicted."""
    for digest, work in here.shelf.wanted():
        if _has_ended(here, work):
            here.shelf.release(digest, work)


def remove_unfinished(here: Bench) -> None:
    """What was found of scans that have ended since, or are known no longer. A worker still at one of them stops."""
    for folder, work in checkpoint.unfinished(here.data):
        if _has_ended(here, work):
            shutil.rmtree(folder, ignore_errors=True)


def _has_ended(here: Bench, work: str) -> bool:
    order_id, index = parse_work_id(work)
    (order,) = here.store.get_many([order_id])
    return order is None or index is None or order.scans[index].state in SCAN_ENDED


def remove_files(here: Bench, order_id: str) -> None:
    """Everything on disk that belongs to the order."""
    shutil.rmtree(here.data / "results" / order_id, ignore_errors=True)
    for unfinished in (here.data / checkpoint.UNFINISHED).glob(f"{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for parcel in (here.data / "parcels").glob(f"{order_id}.*"):
        parcel.unlink(missing_ok=True)
    for unfinished in (here.data / "parcels").glob(f".{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
