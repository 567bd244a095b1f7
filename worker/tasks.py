"""The three stages as Celery tasks: taking work, and turning how it went into a state. Knows Celery and the order's life,
nothing of slides, tensors or receivers.
"""

import errno
import logging
import os
import random
from collections.abc import Callable
from functools import partial
from os import EX_TEMPFAIL
from typing import Any

from celery import current_task

from broker.errors import OrderError, Problem, TemporaryError
from broker.file_storage.interface import unreachable
from broker.order_store import Claim, LeaseLostError, TaskMessage
from broker.orders.order import Stage, parse_work_id
from broker.queue.celery_app import TASKS, app, enqueue
from worker import stages
from worker.context import WorkerContext, worker_context
from worker.process.lease import ASKED_FOR, Lease, Limits
from worker.progress import StopWork

RETRIES = 6
RETRIED_A_FEW_TIMES = frozenset({"input_unreachable", "out_of_memory"})
"""What may never mend itself. Everything else that is worth another try is tried for as long as the order lives."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
FAILING = frozenset(
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
"""What a shared folder answers whose server is away, or that somebody must mend. Work waits for that."""
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 300.0
_log = logging.getLogger(__name__)
Step = Callable[[WorkerContext, Claim, Lease], tuple[TaskMessage, ...]]


@app.task(name=TASKS["fetch"])
def fetch(work: str) -> None:
    """Bring the slide of one scan near."""
    _take(work, "fetch", stages.fetch)


@app.task(name=TASKS["classify"])
def classify(work: str) -> None:
    """Find what there is to find on one scan."""
    _take(work, "classify", stages.classify)


@app.task(name=TASKS["deliver"])
def deliver(work: str) -> None:
    """One attempt to deliver the results of one order."""
    _take(work, "deliver", stages.deliver)


def _take(work: str, stage: Stage, step: Step) -> None:
    try:
        here = worker_context()
        wanted = [here.store.expiring_first(work), work] if stage == "fetch" else [work]
        claims = (
            here.store.claim(one, stage, current_task.request.hostname)
            for one in dict.fromkeys(wanted)
        )
        if claim := next(filter(None, claims), None):
            enqueue(_do(here, claim, step))
    except TemporaryError as error:
        _log.warning(
            "%s; the lease brings it back", error.detail, extra={"work": work, "stage": stage}
        )


def _do(here: WorkerContext, claim: Claim, step: Step) -> tuple[TaskMessage, ...]:
    """Run one stage and write down how it went: the work is finished, given back, or left to its lease."""
    try:
        with _lease(here, claim) as lease:
            return step(here, claim, lease)
    except StopWork as stop:
        _log.info("stopped: %s", stop, extra=_told(claim, "stopped"))
        return _unless_lost(here.store.give_back, claim) if str(stop) in ASKED_FOR else ()
    except LeaseLostError:
        _log.info("stopped: the lease was lost", extra=_told(claim, "stopped"))
        return ()
    except OrderError as error:
        _log.warning("failed: %s", error.detail, extra=_told(claim, error.code))
        return _fail(here, claim, error.problem)
    except TemporaryError as error:
        return _try_again(here, claim, error)
    except Exception as error:  # noqa: BLE001 - the edge: a bug fails its scan, not its worker
        return _unforeseen(here, claim, error)


def _unforeseen(here: WorkerContext, claim: Claim, error: Exception) -> tuple[TaskMessage, ...]:
    if isinstance(error, OSError) and (trouble := _trouble(here, error)):
        _log.warning("a disk fails", exc_info=error, extra=_told(claim, trouble.code))
        return _try_again(here, claim, trouble)
    _log.error("a fault in Slidelane", exc_info=error, extra=_told(claim, "bug"))
    seen = f"a fault in Slidelane ({type(error).__name__}); the worker's log has its trace"
    return _fail(here, claim, Problem("bug", seen))


def _told(claim: Claim, code: str) -> dict[str, object]:
    """What a line in the log is about."""
    return {"work": claim.work, "stage": claim.stage, "fence": claim.fence, "code": code}


def _trouble(here: WorkerContext, error: OSError) -> TemporaryError | None:
    """A disk that is full or does not do what is asked: no fault of the order's, nor of ours."""
    places = " or ".join(
        dict.fromkeys((str(here.data), here.config.broker.storage or str(here.data)))
    )
    if error.errno in NO_ROOM:
        return TemporaryError(
            "shelf_full", f"the disk with {places} is full", hint="free some of it"
        )
    if error.errno in FAILING:
        return unreachable(f"the disk with {places} does not do what is asked ({error.strerror})")
    return None


def _lease(here: WorkerContext, claim: Claim) -> Lease:
    limits = here.config.worker.limits
    if claim.stage == "deliver":  # its steps are few and long
        limit = Limits(limits.deliver_s, limits.deliver_s)
    else:
        limit = Limits(limits.fetch_s, limits.stall_s)
    return Lease(
        here.store, claim, here.config.broker, limit, here.leaving, partial(_give_up, here, claim)
    )


def _give_up(here: WorkerContext, claim: Claim, problem: Problem) -> None:
    _log.error("given up: %s", problem.detail, extra=_told(claim, problem.code))
    try:
        if claim.stage == "deliver":
            enqueue(_unless_lost(here.store.give_back, claim, problem=problem))
        else:
            enqueue(_fail(here, claim, problem))
    except TemporaryError as error:
        _log.warning("%s; the lease brings it back", error.detail, extra={"work": claim.work})
    if claim.stage == "classify":
        os._exit(
            EX_TEMPFAIL
        )  # alone in its child process, and stuck where no exception reaches it: frees the device


def _fail(here: WorkerContext, claim: Claim, problem: Problem) -> tuple[TaskMessage, ...]:
    _, index = parse_work_id(claim.work)
    return _unless_lost(
        here.store.finish, claim, "failed" if index is not None else "undelivered", problem=problem
    )


def _try_again(here: WorkerContext, claim: Claim, error: TemporaryError) -> tuple[TaskMessage, ...]:
    if error.code in RETRIED_A_FEW_TIMES and claim.retries >= RETRIES:
        _log.warning("failed, tried too often: %s", error.detail, extra=_told(claim, error.code))
        return _fail(here, claim, error.problem)
    longest_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(claim.retries, 30))
    delay_s = error.retry_after_s or longest_s * random.uniform(0.5, 1)  # noqa: S311 - jitter
    _log.info("tried again in %.1f s: %s", delay_s, error.detail, extra=_told(claim, error.code))
    fields = {"retries": claim.retries + 1}
    told = None if error.code == "destination_busy" else error.problem
    return _unless_lost(here.store.give_back, claim, fields, problem=told, delay_s=delay_s)


def _unless_lost(
    write: Callable[..., tuple[TaskMessage, ...]], claim: Claim, *args: Any, **named: Any
) -> tuple[TaskMessage, ...]:
    try:
        return write(claim, *args, **named)
    except LeaseLostError:
        _log.info("the lease was lost before the end could be written", extra={"work": claim.work})
        return ()
