"""The three stages of an order's life, each as one story: bring the slide near, classify it, deliver the results."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path

from broker.errors import OrderError
from broker.order_store import Claim, TaskMessage
from broker.orders.order import Order, Scan, bottleneck, parse_work_id
from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.context import WorkerContext
from worker.delivery import deliver_order
from worker.inference import pipeline
from worker.inference.checkpoint import UNFINISHED, Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.pipeline import ClassifiedScan, ScanJob
from worker.process.lease import Lease, Limits
from worker.progress import Stopwatch, StopWork
from worker.results import result_folder
from worker.sources.fetch import fetch_slide


def fetch(here: WorkerContext, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
    """Warm the shelf: the slide is downloaded, or found to be there already."""
    order, index = _scan(here, claim)
    _checkpoint(
        here, claim
    ).clear()  # a scan that somebody asked for once more shall not go on from what failed
    card, clock = here.store.cards().get(order.request.algorithm), Stopwatch()
    with ExitStack() as pins:
        with clock.stage("fetch"):
            copy = pins.enter_context(fetch_slide(order.asked(index), card, here.means, lease))
        here.shelf.want(copy.digest, claim.work)
        timings = clock.timings | {"bytes": copy.bytes}
        fields = {"slide": copy.as_dict(), "timings": timings, "staged_by": claim.fence}
        return here.store.finish(claim, "staged", fields)


def classify(here: WorkerContext, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
    """From the slide to kept findings. Asks the shelf, which fetches again where the slide is gone."""
    order, index = _scan(here, claim)
    asked, scan, clock = order.asked(index), order.scans[index], Stopwatch()
    with clock.stage("load"):
        model = _model(here, order)
        _settle()
    lease.limit(Limits(model.card.time_limit_s, model.card.stall_limit_s))
    folder = Path("results") / order.id / f"{index}.{claim.fence}"
    checkpoint = _checkpoint(here, claim, scan.staged_by)
    with _wanted(here, checkpoint), ExitStack() as pins:
        with clock.stage("fetch"):
            copy = pins.enter_context(
                fetch_slide(asked, model.card, here.means, lease, known=scan.slide)
            )
        done = pipeline.classify(
            ScanJob(order, asked, copy), model, checkpoint, here.means.sandbox, clock, lease
        )
        lease.progress("keeping", 0, 1)
        with clock.stage("keep"):
            made = here.storage.folder / folder
            result_folder.save(made, done.result, done.overlay)
            kept_bytes = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
            here.storage.share(str(folder), partial(lease.progress, "keeping"))
        clock.add("draw", done.overlay.draw_s)
    findings, timings = (
        done.result.findings,
        _timings(scan, done, clock) | {"kept_bytes": kept_bytes},
    )
    fields = {
        "result": str(folder),
        "summary": findings.summary | {"headline": findings.headline, **findings.frame.as_dict()},
        "timings": timings,
    }
    lease.insist(lambda: here.store.note(claim, log=_told(timings)))
    hints = lease.insist(lambda: here.store.finish(claim, "classified", fields))
    checkpoint.clear()
    here.shelf.release(str(scan.slide.get("digest")), claim.work)
    here.means.sandbox.prepare()
    return hints


def _model(here: WorkerContext, order: Order) -> Algorithm:
    settings = here.config.worker
    return registry.load(
        order.request.algorithm,
        settings.algorithms,
        order.request.parameters,
        settings.device,
        max_batch_bytes=MAX_BATCH_BYTES,
    )


@cache
def _settle() -> None:
    """Once for the process: what is loaded by now stays, and the collector need not look through it ever again.

    Else it does while results are written, for they are many small objects: that took half of the time.
    """
    gc.freeze()


def _checkpoint(here: WorkerContext, claim: Claim, since: int = 0) -> Checkpoint:
    """Marked as often as a worker says that it lives: one that is lost is missed no sooner."""
    folder = here.storage.folder / UNFINISHED / f"{claim.work}.{claim.fence}"
    return Checkpoint(folder, here.config.broker.heartbeat_s, since=since)


@contextmanager
def _wanted(here: WorkerContext, checkpoint: Checkpoint) -> Iterator[None]:
    """Work that stops gives its memory back; work whose folder was removed stops."""
    try:
        yield
    except StopWork:
        registry.release_device()
        raise
    except FileNotFoundError:
        if (
            here.storage.folder and not checkpoint.gone
        ):  # the whole storage may be what is gone, which says so itself
            raise
        registry.release_device()
        raise StopWork("its unfinished work was removed") from None


def _timings(scan: Scan, done: ClassifiedScan, clock: Stopwatch) -> dict[str, float]:
    """Where the scan's time went, its fetch included."""
    timings = scan.timings | done.timings | clock.timings
    timings["fetch_s"] = round(timings["fetch_s"] + scan.timings.get("fetch_s", 0.0), 3)
    return timings


def _told(timings: Mapping[str, float]) -> str:
    """One line for people."""
    tiles, resumed = round(timings.get("tiles", 0)), round(timings.get("tiles_resumed", 0))
    before = f" (the first {resumed} by an attempt that was lost)" if resumed else ""
    counted = f" {tiles} tiles{before} at {timings['tiles_per_s']:.1f}/s" if tiles else ""
    return (
        f"classified{counted} in {timings['classify_s']:.1f} s; bottleneck: {bottleneck(timings)}"
    )


def deliver(here: WorkerContext, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
    """One attempt at the destination, with the parcel that was kept for it."""
    _settle()
    return deliver_order.attempt(here, here.store.get(claim.work), claim, lease)


def _scan(here: WorkerContext, claim: Claim) -> tuple[Order, int]:
    order_id, index = parse_work_id(claim.work)
    if index is None:
        raise OrderError("bug", f"{claim.work} names no scan")
    return here.store.get(order_id), index
