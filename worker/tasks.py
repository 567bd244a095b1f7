"""The three stages as Celery tasks: claim work, run its stage, turn the outcome into a state.

This module knows Celery and the states of an order, nothing of slides, tensors or receivers.
"""

import errno
import logging
import os
from functools import partial
from os import EX_TEMPFAIL

from celery import current_task, signals

from broker.errors import OrderError, Problem, TemporaryError
from broker.file_storage.interface import unreachable
from broker.order_store import Claim, LeaseLostError, OrderStore, TaskMessage
from broker.orders.order import Stage, parse_work_id
from broker.queue.celery_app import TASKS, app, enqueue
from broker.settings.config import BrokerSettings
from worker import stages
from worker.backoff import backoff_s
from worker.context import WorkerContext, worker_context
from worker.disk import DISK_FULL_ERRNOS
from worker.linux import forbid_inspection
from worker.process.lease import Lease, Limits
from worker.progress import GIVE_BACK_REASONS, StopWork
from worker.slide_cache.errors import SlideCacheFullError

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
_log = logging.getLogger(__name__)


@app.task(name=TASKS["fetch"])
def fetch(work: str) -> None:
    """Fetch the slide of one scan."""
    _claim_and_run(work, "fetch")


@app.task(name=TASKS["classify"])
def classify(work: str) -> None:
    """Classify one scan."""
    _claim_and_run(work, "classify")


@app.task(name=TASKS["deliver"])
def deliver(work: str) -> None:
    """Make one attempt to deliver the results of one order."""
    _claim_and_run(work, "deliver")


@signals.worker_process_init.connect
def _forbid_inspection(**_: object) -> None:
    """Do in a spawned child what its parent did for itself: secrets are in both."""
    forbid_inspection()


def _claim_and_run(work: str, stage: Stage) -> None:
    """Run the stage unless another worker holds the work, and enqueue what comes next."""
    try:
        context = worker_context()
        claim = _claim(context.store, work, stage)
        if claim:
            enqueue(run_stage(context, claim))
    except TemporaryError as error:
        _log.warning(
            "%s; the work is claimed again when its lease ends",
            error.detail,
            extra={"work": work, "stage": stage},
        )


def _claim(store: OrderStore, work: str, stage: Stage) -> Claim | None:
    """Claim the work; for a fetch rather the scan whose URL expires first."""
    worker = current_task.request.hostname
    if stage == "fetch":
        soonest = store.expiring_first(work)
        claim = store.claim(soonest, stage, worker)
        if claim or soonest == work:
            return claim
    return store.claim(work, stage, worker)


def run_stage(context: WorkerContext, claim: Claim) -> tuple[TaskMessage, ...]:
    """Run the stage of claimed work and record its outcome; return the task messages to enqueue.

    The work is finished, given back, or left to the end of its lease. Raise `TemporaryError` if the
    outcome cannot be recorded.
    """
    try:
        return _run_and_record(context, claim)
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
        return ()


def _run_and_record(context: WorkerContext, claim: Claim) -> tuple[TaskMessage, ...]:
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


def _run(context: WorkerContext, claim: Claim, lease: Lease) -> tuple[TaskMessage, ...]:
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
            enqueue(_fail(store, claim, problem))
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_log_fields(claim, "stopped"))
    except TemporaryError as error:
        _log.warning(
            "%s; the work is claimed again when its lease ends",
            error.detail,
            extra={"work": claim.work},
        )
    if claim.stage == "classify":
        # The work is alone in its child process and may be stuck where no exception reaches it.
        # Ending the process frees the device.
        os._exit(EX_TEMPFAIL)


def _stop(store: OrderStore, claim: Claim, reason: str) -> tuple[TaskMessage, ...]:
    """Give the work back if it is still ours; else leave it to whoever holds it now."""
    _log.info("stopped: %s", reason, extra=_log_fields(claim, "stopped"))
    if reason in GIVE_BACK_REASONS:
        return store.give_back(claim)
    return ()


def _fail(store: OrderStore, claim: Claim, problem: Problem) -> tuple[TaskMessage, ...]:
    _, index = parse_work_id(claim.work)
    if index is None:
        return store.finish(claim, "undelivered", problem=problem)
    return store.finish(claim, "failed", problem=problem)


def _record_unexpected(
    context: WorkerContext, claim: Claim, error: Exception
) -> tuple[TaskMessage, ...]:
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


def _retry(store: OrderStore, claim: Claim, error: TemporaryError) -> tuple[TaskMessage, ...]:
    """Give the work back to be taken again later, or fail it after too many retries."""
    fields = _log_fields(claim, error.code)
    if error.code in LIMITED_RETRY_CODES and claim.retries >= MAX_RETRIES:
        _log.warning("failed, tried too often: %s", error.detail, extra=fields)
        return _fail(store, claim, error.problem)
    delay_s = error.retry_after_s or backoff_s(_FIRST_RETRY_S, _LONGEST_RETRY_S, claim.retries)
    _log.info("tried again in %.1f s: %s", delay_s, error.detail, extra=fields)
    retries = {"retries": claim.retries + 1}
    if error.code == "destination_busy":  # waiting for a free slot is no problem of the order
        return store.give_back(claim, retries, delay_s=delay_s)
    return store.give_back(claim, retries, problem=error.problem, delay_s=delay_s)


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
