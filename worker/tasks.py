"""The three stages as Celery tasks: claim work, run its stage, turn the outcome into a state.

This module knows Celery and the states of an order, nothing of slides, tensors or receivers.
"""

import errno
import logging
import os
import signal
from dataclasses import replace
from functools import partial
from os import EX_TEMPFAIL
from types import FrameType
from typing import Final

from celery import current_task, signals
from celery.exceptions import Ignore

from broker.errors import OrderError, Problem, TemporaryError
from broker.file_storage.interface import unreachable
from broker.log import mute_outages
from broker.order_store import AttemptState, Claim, LeaseLostError, OrderStore
from broker.orders.order import Stage, parse_work_id
from broker.queue import outcome
from broker.queue.celery_app import FETCH_SLIDE_TASK, TASKS, app, enqueue
from broker.queue.outcome import Outcome
from broker.queue.task_claims import begin_other_attempt, claim_work, not_claimed
from broker.queue.task_report import (
    TaskFailedError,
    report,
    report_given_back_before,
    send_outcome,
)
from broker.queue.task_request import TaskRequest
from broker.settings.config import BrokerSettings
from worker import stages, viewed_slides
from worker.backoff import backoff_s
from worker.context import WorkerContext, worker_context
from worker.disk import DISK_FULL_ERRNOS
from worker.linux import forbid_inspection
from worker.process.lease import Lease, Limits
from worker.progress import CANCELLED, GIVE_BACK_REASONS, LEASE_LOST, LEAVING, StopWork
from worker.slide_cache.errors import SlideCacheFullError
from worker.stop_signals import LEAVE_SIGNAL, ignore_stop_signals

MAX_RETRIES = 6
LIMITED_RETRY_CODES = frozenset({"input_unreachable", "out_of_memory"})
"""Problems that may be permanent: retried `MAX_RETRIES` times.

Every other `TemporaryError` is retried for as long as the order lives.
"""
DISK_FAULT_ERRNOS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.ENODEV,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
    }
)
"""Errors of a disk or shared folder that an operator must repair; the work waits for that."""
_FIRST_RETRY_S = 2.0
_LONGEST_RETRY_S = 300.0
_WHY_STOPPED: Final = {
    CANCELLED: "the order is to be cancelled",
    LEAVING: "the worker was asked to stop",
    LEASE_LOST: "the lease was lost",
}
_log = logging.getLogger(__name__)


@signals.worker_process_init.connect
def _obey_only_parent(**_: object) -> None:
    """In a child process leave to the parent what stops a worker, and lines about Redis.

    billiard keeps the signals that are ignored when this is called.
    """
    # What the parent did for itself: secrets are in both.
    forbid_inspection()
    mute_outages()
    ignore_stop_signals()
    signal.signal(LEAVE_SIGNAL, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    worker_context().leaving.set()


@app.task(name=TASKS["fetch"], Request=TaskRequest, throws=(TaskFailedError,))
def fetch(work: str) -> str:
    """Fetch the slide of one scan."""
    return _claim_and_run(work, "fetch")


@app.task(name=TASKS["classify"], Request=TaskRequest, throws=(TaskFailedError,))
def classify(work: str) -> str:
    """Classify one scan."""
    return _claim_and_run(work, "classify")


@app.task(name=TASKS["deliver"], Request=TaskRequest, throws=(TaskFailedError,))
def deliver(work: str) -> str:
    """Make one attempt to deliver the results of one order."""
    return _claim_and_run(work, "deliver")


@app.task(name=FETCH_SLIDE_TASK, Request=TaskRequest, throws=(TaskFailedError,))
def fetch_slide(slide_id: str) -> str:
    """Fetch a slide that somebody looks at."""
    try:
        end = viewed_slides.fetch(worker_context(), slide_id, current_task.request.hostname)
    except TemporaryError as error:
        end = outcome.given_back(f"{error.code}: {error.detail}; it is claimed again later")
    return report(end)


def _claim_and_run(work: str, stage: Stage) -> str:
    """Run the stage unless another worker holds the work, and enqueue what comes next.

    Return one sentence about work that is done. Raise what Celery shows of any other end:
    `TaskFailedError`, `Retry`, or `Ignore` where another message shows the end of the attempt
    that this task is named after.
    """
    request = current_task.request
    claim = None
    named: AttemptState | None = None
    try:
        context = worker_context()
        claim = claim_work(context.store, work, stage, request.hostname)
        if claim:
            named = begin_other_attempt(context.store, claim, work, request.id)
            end = run_stage(context, claim)
            enqueue(end.messages)
        else:
            named, end = not_claimed(context.store, work, stage, request.id)
    except TemporaryError as error:
        reason = f"{error.detail}; the work is claimed again when its lease ends"
        _log.warning("%s", reason, extra={"work": work, "stage": stage, "code": error.code})
        end = outcome.given_back(f"{error.code}: {reason}")
    if named is None:
        return report(end)
    if claim:
        send_outcome(claim.task_id, claim.worker, end)
    if named == "given_back":
        report_given_back_before()
    raise Ignore


def run_stage(context: WorkerContext, claim: Claim) -> Outcome:
    """Run the stage of claimed work and record its outcome; return it for Celery and Flower.

    The work is finished, given back, or left to the end of its lease. Raise `TemporaryError` if the
    outcome cannot be recorded.
    """
    try:
        return _run_and_record(context, claim)
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
        return _recorded(context.store, claim, "the lease was lost")


def _run_and_record(context: WorkerContext, claim: Claim) -> Outcome:
    try:
        with _lease(context, claim) as lease:
            return _run(context, claim, lease)
    except StopWork as stop:
        return _stop(context.store, claim, stop.reason)
    except LeaseLostError:
        raise
    except OrderError as error:
        _log.warning("failed: %s", error.detail, extra=_log_fields(claim, error.code))
        return _fail(context.store, claim, error.problem)
    except TemporaryError as error:
        return _retry(context.store, claim, error)
    except Exception as error:  # noqa: BLE001 - the edge: a bug fails its scan, not its worker
        return _record_unexpected(context, claim, error)


def _run(context: WorkerContext, claim: Claim, lease: Lease) -> Outcome:
    match claim.stage:
        case "fetch":
            return stages.fetch(context, claim, lease)
        case "classify":
            return stages.classify(context, claim, lease)
        case "deliver":
            return stages.deliver(context, claim, lease)


def _lease(context: WorkerContext, claim: Claim) -> Lease:
    """Return a lease with the stage's limits; `stages.classify` sets those of the algorithm."""
    settings = context.config.worker.limits
    limits = Limits(settings.fetch_s, settings.stall_s)
    if claim.stage == "deliver":  # its steps are few and long
        limits = Limits(settings.deliver_s, settings.deliver_s)
    give_up = partial(_give_up, context.store, claim)
    return Lease(context.store, claim, context.config.broker, limits, context.leaving, give_up)


def _give_up(store: OrderStore, claim: Claim, problem: Problem) -> None:
    """Record work that broke its limits. Called from the lease's thread."""
    _log.error("given up: %s", problem.detail, extra=_log_fields(claim, problem.code))
    try:
        if claim.stage == "deliver":
            enqueue(store.give_back(claim, problem=problem))
        else:
            enqueue(_fail(store, claim, problem).messages)
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
    except TemporaryError as error:
        _log.warning(
            "%s; the work is claimed again when its lease ends",
            error.detail,
            extra={"work": claim.work, "code": error.code},
        )
    if claim.stage == "classify":
        # The work is alone in its child process and may be stuck where no exception reaches it.
        # Ending the process frees the device.
        os._exit(EX_TEMPFAIL)


def _stop(store: OrderStore, claim: Claim, reason: str) -> Outcome:
    """Give the work back if it is still ours; else leave it to whoever holds it now."""
    _log.info("stopped: %s", reason, extra=_log_fields(claim, "stopped"))
    if reason in GIVE_BACK_REASONS:
        why = _WHY_STOPPED[reason]
        messages = store.give_back(claim, reason=f"given back: {why}")
        end = _recorded(store, claim, why)
        return replace(end, messages=messages)
    return _recorded(store, claim, _WHY_STOPPED.get(reason, reason))


def _recorded(store: OrderStore, claim: Claim, otherwise: str) -> Outcome:
    """Return the outcome as the record has it; `otherwise` says why work that waits stopped."""
    order_id, _ = parse_work_id(claim.work)
    return outcome.recorded(store.get(order_id), claim.work, otherwise)


def _fail(store: OrderStore, claim: Claim, problem: Problem) -> Outcome:
    _, index = parse_work_id(claim.work)
    state = "failed"
    if index is None:
        state = "undelivered"
    return outcome.failed(problem, store.finish(claim, state, problem=problem))


def _record_unexpected(context: WorkerContext, claim: Claim, error: Exception) -> Outcome:
    """Retry work that met a full or failing disk; any other exception is a bug and fails it."""
    if isinstance(error, OSError):
        disk_error = _disk_error(context.config.broker, error)
        if disk_error:
            fields = _log_fields(claim, disk_error.code)
            _log.warning("a disk fails", exc_info=error, extra=fields)
            return _retry(context.store, claim, disk_error)
    _log.error("a fault in Slidelane", exc_info=error, extra=_log_fields(claim, "bug"))
    detail = f"a fault in Slidelane ({type(error).__name__}); the worker's log has its trace"
    return _fail(context.store, claim, Problem("bug", detail))


def _retry(store: OrderStore, claim: Claim, error: TemporaryError) -> Outcome:
    """Give the work back to be taken again later, or fail it after too many retries."""
    fields = _log_fields(claim, error.code)
    if _is_last_attempt(claim, error):
        _log.warning("failed, tried too often: %s", error.detail, extra=fields)
        return _fail(store, claim, error.problem)
    delay_s = error.retry_after_s or backoff_s(_FIRST_RETRY_S, _LONGEST_RETRY_S, claim.retries)
    _log.info("tried again in %.1f s: %s", delay_s, error.detail, extra=fields)
    retries = {"retries": claim.retries + 1}
    reason = f"{error.code}: {error.detail}"
    if error.code == "destination_busy":  # waiting for a free slot is no problem of the order
        messages = store.give_back(claim, retries, delay_s=delay_s, reason=reason)
    else:
        messages = store.give_back(claim, retries, problem=error.problem, delay_s=delay_s)
    return outcome.given_back(reason, messages, delay_s)


def _is_last_attempt(claim: Claim, error: TemporaryError) -> bool:
    """Return whether the problem is one too many, for us or for the order."""
    if claim.most_attempts and claim.retries + claim.attempts >= claim.most_attempts:
        return True
    return error.code in LIMITED_RETRY_CODES and claim.retries >= MAX_RETRIES


def _disk_error(settings: BrokerSettings, error: OSError) -> TemporaryError | None:
    """Return the problem of a full or failing disk; None if the error has another cause."""
    places = str(settings.data)
    if settings.storage and settings.storage != places:
        places = f"{places} or {settings.storage}"
    if error.errno in DISK_FULL_ERRNOS:
        return SlideCacheFullError(f"the disk with {places} is full", hint="free some of it")
    if error.errno in DISK_FAULT_ERRNOS:
        return unreachable(f"the disk with {places} does not do what is asked ({error.strerror})")
    return None


def _log_fields(claim: Claim, code: str) -> dict[str, object]:
    """Return the fields that every log line about the claimed work carries."""
    return {"work": claim.work, "stage": claim.stage, "fence": claim.fence, "code": code}
