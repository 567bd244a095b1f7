"""The three legs of an order's life, each as one story: bring the slide near, classify it, deliver the results."""

import time
from pathlib import Path

from broker.errors import OrderError
from broker.order import Order, parse_work_id
from broker.request import ScanRequest
from broker.store import Claim, Hint
from worker import kept, outbox, pipeline
from worker.algorithms import registry
from worker.algorithms.protocol import Algorithm
from worker.bench import Bench
from worker.cores import granted_cores
from worker.lease import Lease, Limits
from worker.pipeline import Done
from worker.sources import Copy, near
from worker.values import Stop


def fetch(here: Bench, claim: Claim, lease: Lease) -> tuple[Hint, ...]:
    """Warm the shelf: the slide is downloaded, or found to be there already."""
    order, index = _scan(here, claim)
    began = time.monotonic()
    with near(order.asked(index).source, here.shelf, here.http, here.config.worker.slides, lease) as copy:
        took_s = round(time.monotonic() - began, 3)
        here.shelf.want(copy.digest, claim.work)
        fields = {"slide": copy.as_dict(), "timings": {"fetch_s": took_s, "bytes": copy.bytes}}
        return here.store.finish(claim, "staged", fields)


def classify(here: Bench, claim: Claim, lease: Lease) -> tuple[Hint, ...]:
    """From the slide to kept findings. Asks the shelf, which fetches again where the slide is gone."""
    order, index = _scan(here, claim)
    asked, scan, settings = order.asked(index), order.scans[index], here.config.worker
    model = registry.load(order.request.algorithm, settings.algorithms, order.request.parameters, settings.device)
    lease.limit(Limits(model.card.time_limit_s, model.card.stall_limit_s))
    with near(asked.source, here.shelf, here.http, settings.slides, lease, known=scan.slide) as copy:
        done = _classified(order, asked, copy, model, settings.threads or granted_cores(), lease)
    folder = Path("results") / order.id / f"{index}.{claim.fence}"
    lease.progress("keeping", 0, 1)
    kept.keep(here.data / folder, done.result, done.overlay)
    findings = done.result.findings
    fields = {
        "result": str(folder),
        "summary": findings.summary | {"headline": findings.headline, **findings.frame.as_dict()},
        "timings": scan.timings | done.timings,
    }
    hints = lease.insist(lambda: here.store.finish(claim, "classified", fields))
    here.shelf.release(str(scan.slide.get("digest")), claim.work)
    return hints


def _classified(order: Order, asked: ScanRequest, copy: Copy, model: Algorithm, threads: int, lease: Lease) -> Done:
    try:
        return pipeline.classify(order, asked, copy, model, threads, lease)
    except Stop:
        registry.release_device()
        raise


def deliver(here: Bench, claim: Claim, lease: Lease) -> tuple[Hint, ...]:
    """One attempt at the destination, with the parcel that was kept for it."""
    return outbox.attempt(here, here.store.get(claim.work), claim, lease)


def _scan(here: Bench, claim: Claim) -> tuple[Order, int]:
    order_id, index = parse_work_id(claim.work)
    if index is None:
        raise OrderError("bug", f"{claim.work} names no scan")
    return here.store.get(order_id), index
