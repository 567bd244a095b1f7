"""The three stages of an order: fetch a slide, classify it, deliver the results.

Each returns its outcome, with the task messages to enqueue next. How a failed stage becomes a state
is decided in `tasks.py`.
"""

import gc
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final

from broker.errors import TemporaryError
from broker.file_storage.interface import RESULTS, Storage
from broker.order_store import Claim, OrderStore
from broker.orders.order import (
    Order,
    OrderState,
    Scan,
    ScanWarning,
    bottleneck,
    parse_work_id,
)
from broker.orders.result_files import OF_FAILED
from broker.queue import outcome
from broker.queue.outcome import Outcome
from broker.settings.config import ConfigError, WorkerSettings
from worker.algorithms import registry
from worker.algorithms.interface import Algorithm
from worker.context import WorkerContext
from worker.inference import pipeline
from worker.inference.case.bag import EncodedScan
from worker.inference.case.encoding import is_encoded
from worker.inference.case.judging import case_network, judge
from worker.inference.case.judging import results as case_results
from worker.inference.checkpoint import UNFINISHED, Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.pipeline import ClassifiedScan, ScanJob
from worker.inference.production import produced_with
from worker.inference.programs.problems import ProgramFailedError
from worker.inference.programs.run_on_scan import ProgramSite
from worker.process.lease import Lease, Limits
from worker.process.order_log import OrderLog
from worker.programs.durations import Durations
from worker.progress import Stopwatch, StopWork
from worker.results.stored_result import store_result

_HOST_ENDS_S = 5.0
_PROGRAM_ENDS_S = 600.0
"""What a scan may take beside its program: to be fetched again, to be drawn and stored."""
_SCRATCH: Final = "scratch"
_DURATIONS: Final = "durations"


def fetch(context: WorkerContext, claim: Claim, lease: Lease) -> Outcome:
    """Download the slide of one scan into the slide cache, unless it is there already."""
    order, index = _order_and_index(context.store, claim)
    # A scan that is retried must not resume from what its failed attempt found.
    _checkpoint(context, claim).clear()
    card = context.store.cards().get(order.request.algorithm)
    # What somebody looked at is what they ordered, and its URL may have expired since.
    known = order.scans[index].looked_at
    stopwatch = Stopwatch()
    with ExitStack() as slides:
        with stopwatch.measure("fetch"):
            slide = slides.enter_context(
                context.slide_fetcher.fetch(order.scan_request(index), card, lease, known)
            )
        context.slide_cache.add_hold(slide.digest, claim.work)
        fields = {
            "slide": slide.as_dict(),
            "timings": stopwatch.timings | {"bytes": slide.bytes},
            "staged_by": claim.fence,
        }
        messages = context.store.finish(claim, "staged", fields)
    text = f"fetched {slide.bytes:,} bytes in {stopwatch.timings['fetch_s']:.1f} s"
    return Outcome("done", text, messages)


def classify(context: WorkerContext, claim: Claim, lease: Lease) -> Outcome:
    """Run the algorithm on one scan and store its result.

    The slide is fetched again if the cache has evicted it. The last encoded scan of a case is
    claimed once more, to judge the case.
    """
    order, index = _order_and_index(context.store, claim)
    scan = order.scans[index]
    if scan.judges_case:
        return _judge_case(context, claim, lease, order, scan)
    request = order.scan_request(index)
    stopwatch = Stopwatch()
    context.sandbox.prepare()
    with stopwatch.measure("load"):
        algorithm = _load_algorithm(order, context.config.worker)
        _freeze_loaded_objects()
    lease.limit(_limits(algorithm))
    checkpoint = _checkpoint(context, claim, scan.staged_by)
    result_key = f"{RESULTS}/{order.id}/{index}.{claim.fence}"
    with _release_device_on_stop(context.storage, checkpoint), ExitStack() as slides:
        with stopwatch.measure("fetch"):
            slide = slides.enter_context(
                context.slide_fetcher.fetch(request, algorithm.card, lease, known=scan.slide)
            )
        produced = produced_with(algorithm, context.config.worker.device)
        job = ScanJob(order, request, slide, produced, _program_site(context, claim))
        with _keep_of_failure(context, claim, result_key):
            classified = pipeline.classify(
                job, algorithm, checkpoint, context.sandbox, stopwatch, lease
            )
        lease.report("storing", 0, 1)
        with stopwatch.measure("keep"):
            result = classified.result
            share = partial(lease.report, "storing")
            kept = store_result(context.storage, result_key, result, classified.overlay, share)
        stopwatch.add("draw", classified.overlay.draw_s)
    timings = _timings(scan, classified, stopwatch) | {"kept_bytes": kept.bytes}
    fields = kept.fields | {"timings": timings}
    log = _log_lines(timings, result.warnings)
    if is_encoded(result.card):
        messages = lease.retry_write(context.store.finish_encoded, claim, fields, log=log)
    else:
        messages = lease.retry_write(context.store.finish, claim, "classified", fields, log=log)
    checkpoint.clear()
    context.slide_cache.remove_hold(str(scan.slide.get("digest")), claim.work)
    return Outcome("done", _log_line(timings), messages)


def _judge_case(
    context: WorkerContext, claim: Claim, lease: Lease, order: Order, scan: Scan
) -> Outcome:
    """Judge the case by the stored vectors of all scans, and store the results of all scans.

    The record gets the answer for all of them at once, so a case is judged wholly or not at all.
    """
    stopwatch = Stopwatch()
    storage = context.storage
    with stopwatch.measure("load"):
        algorithm = case_network(_load_algorithm(order, context.config.worker))
        _freeze_loaded_objects()
    lease.limit(_limits(algorithm))
    checkpoint = _checkpoint(context, claim)
    produced = produced_with(algorithm, context.config.worker.device)
    fields: list[dict[str, Any]] = []
    with (
        stopwatch.measure("case"),
        _release_device_on_stop(storage, checkpoint),
        ExitStack() as copies,
    ):
        scratch = checkpoint.begin_anew()
        encoded = []
        for one in order.scans:
            lease.report("collecting", one.index, len(order.scans))
            folder = copies.enter_context(storage.local_copy(one.result))
            encoded.append(EncodedScan.load(folder, algorithm.card))
        case = judge(encoded, algorithm, scratch, lease)
        for result, overlay in case_results(case, algorithm, scratch, produced):
            lease.report("storing", len(fields), len(order.scans))
            key = f"{RESULTS}/{order.id}/{len(fields)}.case.{scan.index}.{claim.fence}"
            share = partial(lease.report, "storing")
            fields.append(store_result(storage, key, result, overlay, share).fields)
    timings = scan.timings | {"case_s": stopwatch.timings["case_s"]}
    fields[scan.index]["timings"] = timings
    judgement = case.answer.judgement
    line = (
        f"judged the case by {judgement.tiles} tiles of {judgement.scans} scans "
        f"in {timings['case_s']:.1f} s"
    )
    log = [line, *_warning_lines(case.warnings)]
    messages = lease.retry_write(context.store.finish_case, claim, fields, log=log)
    checkpoint.clear()
    _remove_encoded(storage, order)
    return Outcome("done", line, messages)


def _remove_encoded(storage: Storage, order: Order) -> None:
    """Remove what the scans of a judged case were encoded to: their results hold it now.

    What cannot be removed goes with its order.
    """
    for scan in order.scans:
        with suppress(TemporaryError):
            storage.remove(scan.result)


def deliver(context: WorkerContext, claim: Claim, lease: Lease) -> Outcome:
    """Make one attempt to deliver the results of an order."""
    _freeze_loaded_objects()
    messages = context.deliverer.attempt(context.store.get(claim.work), claim, lease)
    return replace(_delivery_outcome(context.store, claim), messages=messages)


def _delivery_outcome(store: OrderStore, claim: Claim) -> Outcome:
    """Return how a delivery attempt ended, as the record has it."""
    order = store.get(claim.work)
    attempt = _last_attempt(order)
    if order.state == OrderState.DELIVERED:
        return Outcome("done", f"delivered: {attempt}")
    reason = attempt
    wait = store.waits(order).get(claim.work)
    if wait:
        reason = f"{attempt}; {wait.reason}"
    return outcome.recorded(order, claim.work, reason)


def _last_attempt(order: Order) -> str:
    """Return the last delivery attempt in words."""
    last = order.last_attempt
    if last is None:
        return "nothing was sent; the results are kept"
    text = f"delivery attempt {len(order.attempts)}: {last.outcome}"
    if last.status:
        text += f" ({last.status})"
    if last.error:
        text += f": {last.error}"
    return text


def _order_and_index(store: OrderStore, claim: Claim) -> tuple[Order, int]:
    """Return the order of the claimed scan, and the scan's index in it."""
    order_id, index = parse_work_id(claim.work)
    if index is None:
        raise RuntimeError(f"{claim.work} names no scan")
    return store.get(order_id), index


def _load_algorithm(order: Order, settings: WorkerSettings) -> Algorithm:
    """Return the ordered algorithm.

    Raise `OrderError` for a wrong parameter, and `TemporaryError` where this worker cannot run the
    algorithm: another worker may, or this one once its setting or model folder is corrected.
    """
    try:
        return registry.load(
            order.request.algorithm,
            settings.algorithms,
            order.request.parameters,
            settings.device,
            max_batch_bytes=MAX_BATCH_BYTES,
        )
    except ConfigError as error:
        raise TemporaryError(
            "algorithm_unavailable",
            str(error),
            hint="the operator corrects the setting or the model folder; the scan waits for that",
        ) from error


def _limits(algorithm: Algorithm) -> Limits:
    """Return the limits of the algorithm's card.

    A program is ended at its limit by what runs it, and need not tell how far it is. Code in a
    process of its own that makes no progress is ended alone, before this whole process would be:
    the networks that it has loaded stay.
    """
    card = algorithm.card
    if algorithm.works_on == "program":
        limit_s = card.time_limit_s + _PROGRAM_ENDS_S
        return Limits(limit_s, limit_s)
    if algorithm.works_on == "scan":
        return Limits(card.time_limit_s, card.stall_limit_s + _HOST_ENDS_S)
    return Limits(card.time_limit_s, card.stall_limit_s)


def _program_site(context: WorkerContext, claim: Claim) -> ProgramSite:
    """Return what a program has of this worker."""
    return ProgramSite(
        scratch=context.data / _SCRATCH,
        log=OrderLog(context.store, claim),
        durations=Durations(context.data / _DURATIONS),
    )


@contextmanager
def _keep_of_failure(context: WorkerContext, claim: Claim, key: str) -> Iterator[None]:
    """Keep what a program that failed has printed, and its debug file, where results go."""
    try:
        yield
    except ProgramFailedError as error:
        files = {name: path for name, path in error.files.items() if name in OF_FAILED}
        if files:
            folder = context.storage.folder / key
            folder.mkdir(parents=True, exist_ok=True)
            for name, path in files.items():
                shutil.move(path, folder / name)
            context.storage.share(key, _ignore_progress)
            context.store.note(claim, {"kept": key, "files": sorted(files)})
        raise


def _ignore_progress(_done_bytes: int, _total_bytes: int) -> None:
    """Take the progress of copying a few files."""


@cache
def _freeze_loaded_objects() -> None:
    """Exclude what is loaded by now from garbage collection; once for the process.

    Writing results makes many small objects, so the collector runs often. Without this it took
    half of that time to look through modules and models that stay.
    """
    gc.freeze()


def _checkpoint(context: WorkerContext, claim: Claim, since: int = 0) -> Checkpoint:
    """Return the checkpoint of this attempt, marked as often as a heartbeat is sent.

    A shorter interval would not help: a lost worker is noticed no sooner than by its heartbeat.
    """
    folder = context.storage.folder / UNFINISHED / f"{claim.work}.{claim.fence}"
    return Checkpoint(folder, context.config.broker.heartbeat_s, since=since)


@contextmanager
def _release_device_on_stop(storage: Storage, checkpoint: Checkpoint) -> Iterator[None]:
    """Release the device's memory if the work stops.

    Work also stops if its checkpoint folder was removed, which means that its scan has ended.
    """
    try:
        yield
    except StopWork:
        registry.release_device()
        raise
    except FileNotFoundError:
        # Raises `TemporaryError` by itself if the whole storage is what is missing.
        if storage.folder and not checkpoint.gone:
            raise
        registry.release_device()
        raise StopWork("its unfinished work was removed") from None


def _timings(scan: Scan, classified: ClassifiedScan, stopwatch: Stopwatch) -> dict[str, float]:
    """Return where the scan's time went, both stages included."""
    timings = scan.timings | classified.timings | stopwatch.timings
    timings["fetch_s"] = round(timings["fetch_s"] + scan.timings.get("fetch_s", 0.0), 3)
    return timings


def _log_lines(timings: Mapping[str, float], warnings: Sequence[ScanWarning]) -> list[str]:
    """Return the lines of the order's log about a classified scan: its speed, its warnings."""
    return [_log_line(timings), *_warning_lines(warnings)]


def _warning_lines(warnings: Sequence[ScanWarning]) -> list[str]:
    return [f"warning {warning.code}: {warning.detail}" for warning in warnings]


def _log_line(timings: Mapping[str, float]) -> str:
    """Return the line of the order's log that says how fast the scan was."""
    line = "classified"
    tiles = round(timings.get("tiles", 0))
    if tiles:
        line += f" {tiles} tiles"
        resumed = round(timings.get("tiles_resumed", 0))
        if resumed:
            line += f" (the first {resumed} by an attempt that was lost)"
        line += f" at {timings['tiles_per_s']:.1f}/s"
    return f"{line} in {timings['classify_s']:.1f} s; bottleneck: {bottleneck(timings)}"
