"""Fetches slides that people look at, before anybody orders them.

The whole slide is brought into the slide cache, where the viewer opens it. As for a scan the record
in Redis decides who fetches, and a courier that is lost is replaced.
"""

import logging
from functools import partial
from typing import Final

from broker.errors import OrderError, Problem, TemporaryError
from broker.order_store import Claim, LeaseLostError
from broker.order_store.viewed_slides import ViewedSlides
from broker.orders.request import ScanRequest
from broker.queue import outcome
from broker.queue.outcome import Outcome
from worker.backoff import backoff_s
from worker.context import WorkerContext
from worker.disk import DISK_FULL_ERRNOS
from worker.process.lease import Lease, Limits
from worker.progress import LEAVING, Stopwatch, StopWork
from worker.slide_cache.errors import SlideCacheFullError

_FIRST_RETRY_S: Final = 2.0
_LONGEST_RETRY_S: Final = 30.0
"""A person waits, so that a source that does not answer is given up within a minute."""
_log = logging.getLogger(__name__)


def fetch(context: WorkerContext, slide_id: str, worker: str) -> Outcome:
    """Fetch the slide unless another courier does; note its place, or why it cannot be fetched.

    Raise `TemporaryError` if the outcome cannot be recorded; the slide is then claimed again when
    its lease ends.
    """
    slides = context.store.viewed_slides
    claim = slides.claim(slide_id, worker)
    if claim is None:
        return Outcome("done", "nothing to do: the slide does not wait to be fetched")
    try:
        return _fetch_and_record(context, claim)
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
        return outcome.given_back("the lease was lost")


def _fetch_and_record(context: WorkerContext, claim: Claim) -> Outcome:
    slides = context.store.viewed_slides
    settings = context.config.worker.limits
    limits = Limits(settings.fetch_s, settings.stall_s)
    give_up = partial(_give_up, slides, claim)
    broker = context.config.broker
    try:
        with Lease(slides, claim, broker, limits, context.leaving, give_up) as lease:
            return _fetch(context, claim, lease)
    except StopWork as stop:
        _log.info("stopped: %s", stop.reason, extra=_log_fields(claim, "stopped"))
        if stop.reason == LEAVING:
            slides.give_back(claim, counts=False)
        return outcome.given_back(f"stopped: {stop.reason}")
    except LeaseLostError:
        raise
    except OrderError as error:
        return _failed(slides, claim, error.problem)
    except TemporaryError as error:
        return _retry(slides, claim, error)
    except Exception as error:  # noqa: BLE001 - the edge: a bug fails its slide, not its courier
        return _unexpected(context, claim, error)


def _unexpected(context: WorkerContext, claim: Claim, error: Exception) -> Outcome:
    """Try again where the disk was full; any other exception is a bug and fails the slide."""
    slides = context.store.viewed_slides
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        what = f"the disk with {context.data} is full"
        return _retry(slides, claim, SlideCacheFullError(what, hint="free some of it"))
    _log.error("a fault in Slidelane", exc_info=error, extra=_log_fields(claim, "bug"))
    detail = f"a fault in Slidelane ({type(error).__name__}); the worker's log has its trace"
    return _failed(slides, claim, Problem("bug", detail))


def _fetch(context: WorkerContext, claim: Claim, lease: Lease) -> Outcome:
    slides = context.store.viewed_slides
    source = slides.use(claim.work).source
    stopwatch = Stopwatch()
    # Nobody knows yet which algorithm will read it, so that all of it is fetched.
    with (
        stopwatch.measure("fetch"),
        context.slide_fetcher.fetch(ScanRequest(id="slide", source=source), None, lease) as local,
    ):
        slides.finish(claim, local.as_dict())
    spent_s = stopwatch.timings["fetch_s"]
    return Outcome("done", f"fetched {local.bytes:,} bytes to look at in {spent_s:.1f} s")


def _failed(slides: ViewedSlides, claim: Claim, problem: Problem) -> Outcome:
    _log.warning("failed: %s", problem.detail, extra=_log_fields(claim, problem.code))
    slides.fail(claim, problem)
    return outcome.failed(problem)


def _retry(slides: ViewedSlides, claim: Claim, error: TemporaryError) -> Outcome:
    """Give the slide back to be fetched again later, or fail it after too many attempts."""
    if claim.attempts >= claim.most_attempts:
        return _failed(slides, claim, error.problem)
    delay_s = backoff_s(_FIRST_RETRY_S, _LONGEST_RETRY_S, claim.attempts - 1)
    if error.retry_after_s is not None:
        delay_s = min(error.retry_after_s, _LONGEST_RETRY_S)
    fields = _log_fields(claim, error.code)
    _log.info("tried again in %.1f s: %s", delay_s, error.detail, extra=fields)
    slides.give_back(claim, delay_s)
    return outcome.given_back(f"{error.code}: {error.detail}", delay_s=delay_s)


def _give_up(slides: ViewedSlides, claim: Claim, problem: Problem) -> None:
    """Record a slide that broke its limits. Called from the lease's thread."""
    try:
        _failed(slides, claim, problem)
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
    except TemporaryError as error:
        fields = _log_fields(claim, error.code)
        _log.warning("%s; the slide is claimed again later", error.detail, extra=fields)


def _log_fields(claim: Claim, code: str) -> dict[str, object]:
    """Return the fields that every log line about the claimed slide carries."""
    return {"work": claim.work, "stage": claim.stage, "fence": claim.fence, "code": code}
