"""Remove what is no longer needed: expired orders, their files, unfinished work, unused slides."""

import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from threading import Event
from time import monotonic

from broker.errors import TemporaryError
from broker.file_storage.interface import PAYLOADS, RESULTS
from broker.orders.order import ENDED, SCAN_ENDED, OrderState, UnreadableOrder, parse_work_id
from broker.orders.source import UploadSource
from worker.context import WorkerContext
from worker.inference import checkpoint

_INTERVAL_S = 60.0
_DELETED_INTERVAL_S = 2.0
_PAGE = 500
_LATE_FILES_S = 600.0
"""A worker that held a scan of a deleted order may still write a result for so long."""
_log = logging.getLogger(__name__)


def run_cleanup(context: WorkerContext, stopped: Event) -> None:
    """Clean up once a minute, and what was deleted at once, until `stopped` is set."""
    removed: set[str] = set()
    clean_at = monotonic() + _INTERVAL_S
    while not stopped.wait(_DELETED_INTERVAL_S):
        try:
            removed.update(remove_deleted(context, removed))
            if monotonic() >= clean_at:
                clean_at = monotonic() + _INTERVAL_S
                removed.clear()  # a worker may have written something late
                clean_up(context)
        except TemporaryError as error:
            _log.warning("the cleanup waits: %s", error.detail, extra={"code": error.code})
        except OSError as error:
            _log.warning("the cleanup waits: %s", error)


def clean_up(context: WorkerContext) -> None:
    """Remove everything that is no longer needed.

    The files of an order go before its record, so that a cleanup that was killed is repeated.
    """
    release_slides(context)
    remove_unfinished(context)
    remove_left_behind(context)
    context.slide_cache.remove_unused(context.config.worker.slides.keep_s)
    for order_id in context.store.deletable():
        remove_files(context, order_id)
        context.store.delete(order_id)
    # Last: where this machine may only read the folder, another one removes them.
    remove_unused_uploads(context)


def remove_deleted(context: WorkerContext, removed: Collection[str] = ()) -> list[str]:
    """Remove the files of orders that somebody deleted, and return the ids of these orders.

    Those that are `removed` already are left out: to look for files of each takes a request to a
    bucket.
    """
    order_ids = [one for one in context.store.deleted() if one not in removed]
    if not order_ids:
        return []
    for order_id in order_ids:
        remove_files(context, order_id)
    context.store.forget_deleted(_LATE_FILES_S)
    return order_ids


def remove_unused_uploads(context: WorkerContext) -> None:
    """Remove uploads that nobody used for `services.uploads.keep_s`.

    One that an unfinished order still needs stays, and counts as used now.
    """
    keep_s = context.config.services.uploads.keep_s
    context.uploads.remove_left_behind()
    unused = context.uploads.unused(keep_s)
    if not unused:
        return
    needed = _needed_uploads(context)
    for set_id in unused:
        if set_id in needed:
            context.uploads.touch(set_id)
        elif context.uploads.remove_unused(set_id, keep_s):
            _log.info("removed an upload that was not used for %g s", keep_s)


def _needed_uploads(context: WorkerContext) -> set[str]:
    """Return the ids of the sets that orders which have not ended name."""
    needed = set()
    for state in OrderState:
        cursor = None
        while state not in ENDED:
            page = context.store.find(state=state, cursor=cursor, limit=_PAGE)
            for order in page.orders:
                for scan in order.request.scans:
                    if isinstance(scan.source, UploadSource):
                        needed.add(context.uploads.set_id(scan.source.upload))
            cursor = page.cursor
            if cursor is None:
                break
    return needed


def release_slides(context: WorkerContext) -> None:
    """Allow eviction of slides that were cached for scans that ended or are unknown."""
    for digest, work in context.slide_cache.holds():
        if _has_ended(context, work):
            context.slide_cache.remove_hold(digest, work)


def remove_unfinished(context: WorkerContext) -> None:
    """Remove the unfinished work of scans that ended or are unknown; their workers then stop."""
    for folder, work in checkpoint.unfinished(context.storage.folder):
        if _has_ended(context, work):
            shutil.rmtree(folder, ignore_errors=True)


def _has_ended(context: WorkerContext, work: str) -> bool:
    order_id, index = parse_work_id(work)
    (order,) = context.store.get_many([order_id])
    if isinstance(order, UnreadableOrder):
        return order.has_ended
    return order is None or index is None or order.scans[index].state in SCAN_ENDED


def remove_left_behind(context: WorkerContext) -> None:
    """Remove what killed processes of this machine left of orders that are unknown by now."""
    order_ids = list(context.storage.unshared_orders())
    orders = context.store.get_many(order_ids)
    for order_id, order in zip(order_ids, orders, strict=True):
        if order is None:
            _remove_local_files(context.storage.folder, order_id)


def remove_files(context: WorkerContext, order_id: str) -> None:
    """Remove every file of the order, on this machine and from the shared storage."""
    _remove_local_files(context.storage.folder, order_id)
    context.storage.delete(order_id)


def _remove_local_files(folder: Path, order_id: str) -> None:
    shutil.rmtree(folder / RESULTS / order_id, ignore_errors=True)
    for unfinished in (folder / checkpoint.UNFINISHED).glob(f"{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for payload in (folder / PAYLOADS).glob(f"{order_id}.*"):
        payload.unlink(missing_ok=True)
    for unfinished in (folder / PAYLOADS).glob(f".{order_id}.*"):
        shutil.rmtree(unfinished, ignore_errors=True)
