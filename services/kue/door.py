"""What is done for clients of Kue: jobs become orders, and what is asked of a job is done to it."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import SlidelaneError
from broker.order_store import OrderStore
from broker.order_store.errors import (
    KeyReusedError,
    KueJobNotFoundError,
    OrderNotFoundError,
    StateConflictError,
)
from broker.order_store.kue import KUE_STATES, KueJob
from broker.orders.order import OrderState
from broker.queue.celery_app import enqueue
from broker.settings.config import Config
from services.auth import Caller
from services.kue.answers import KueRefusedError, error_of, status_of
from services.kue.job_order import order_document
from services.kue.sent_job import SentJob, job_of, order_priority
from services.requests.order_validation import order_of
from services.requests.placement import Orderable, Placement

NAME: Final = "kue"
"""`created_by` of the orders, and who asked for what is done to them."""
MAX_JOBS: Final = 1000
"""The most jobs in one array."""
_CREATED: Final = "job created"
_LONGEST_NUMBER: Final = 15


@dataclass(frozen=True, slots=True)
class Created:
    """What became of one job that was sent: the status it would have alone, and its answer."""

    status: int
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """Does what clients of Kue ask for."""

    config: Config
    store: OrderStore

    def create(self, document: Any, key: str | None = None) -> Created:
        """Return what became of one job. Raise `TemporaryError` where Redis does not answer."""
        try:
            return self._created(document, self._orderable(), key)
        except KueRefusedError as fault:
            return Created(status_of(fault), error_of(fault))

    def create_all(self, documents: Sequence[Any], key: str | None = None) -> list[Created]:
        """Return what became of each job of an array: those that are right are made.

        Raise `KueRefusedError` for too many, `TemporaryError` where Redis does not answer.
        """
        if len(documents) > MAX_JOBS:
            raise KueRefusedError(f"an array has at most {MAX_JOBS} jobs; divide it")
        orderable = self._orderable()
        outcomes = []
        for place, document in enumerate(documents):
            own_key = None
            if key is not None:
                own_key = f"{key}\n{place}"
            try:
                outcomes.append(self._created(document, orderable, own_key))
            except KueRefusedError as fault:
                outcomes.append(Created(status_of(fault), error_of(fault)))
        return outcomes

    def job(self, word: str) -> KueJob:
        """Return the job that a word of a path names. Raise `KueJobNotFoundError`."""
        return self.store.kue.job(_number(word))

    def log(self, word: str) -> list[dict[str, Any]]:
        """Return the lines of a job's log, none where there is no such job."""
        try:
            job = self.job(word)
        except KueJobNotFoundError:
            return []
        if not job.order_id:
            failed_s = int(job.fields["failed_at"]) / 1000
            return [{"at": failed_s, "text": job.fields["error"].partition("\n")[0]}]
        return self.store.log(job.order_id)

    def remove(self, word: str) -> None:
        """Remove a job; cancel its order, and delete it where it has ended.

        Results that are on their way arrive or not; their order is kept. Raise `OrderError`.
        """
        order_id = self.store.kue.remove(_number(word))
        if not order_id:
            return
        with suppress(OrderNotFoundError, StateConflictError):  # it has ended
            self.store.cancel(order_id, NAME)
        with suppress(OrderNotFoundError, StateConflictError):  # its results are on their way
            self.store.delete_with_files(order_id, NAME)

    def set_priority(self, word: str, priority: int) -> None:
        """Change the priority of a job, and of its order while that waits. Raise `OrderError`."""
        of_order = order_priority(priority, self.config.services.kue.max_priority)
        enqueue(self.store.kue.set_priority(_number(word), priority, of_order))

    def set_state(self, word: str, state: str) -> None:
        """Bring a job to a state as far as our record can: start it again, or end it.

        Raise `OrderError`, also for a state that only the work on the order decides.
        """
        if state not in KUE_STATES:
            raise KueRefusedError(f"invalid state; the states are {', '.join(KUE_STATES)}")
        job = self.job(word)
        if job.state == state:
            return
        if state == "inactive":
            self._start_again(job)
        elif state == "failed":
            self.store.cancel(self._order_id(job), NAME)
        else:
            raise KueRefusedError(
                f"job {job.number} is {job.state}: only the work on its order makes it {state}"
            )

    def _start_again(self, job: KueJob) -> None:
        """Try a failed job again; where only its results did not arrive, deliver them again."""
        order_id = self._order_id(job)
        if job.state in {"active", "delayed"}:
            raise KueRefusedError(f"job {job.number} is {job.state} and is done in its turn")
        if job.state == "complete":
            raise KueRefusedError(f"job {job.number} is complete; send it once more instead")
        if self.store.get(order_id).state == OrderState.UNDELIVERED:
            enqueue(self.store.deliver_again(order_id, NAME))
            return
        enqueue(self.store.retry(order_id, NAME))

    def _order_id(self, job: KueJob) -> str:
        if not job.order_id:
            raise KueRefusedError(f"job {job.number} could not be an order: {job.fields['error']}")
        return job.order_id

    def _orderable(self) -> Orderable:
        return Orderable.of(self.store)

    def _created(self, document: Any, orderable: Orderable, key: str | None) -> Created:
        """Store the order of a job, or a failed job where there can be no order.

        A viewer reads nothing but the id: without one it would wait for ever. Raise
        `KueRefusedError`, and `TemporaryError` where Redis does not answer.
        """
        settings = self.config.services.kue
        job = job_of(document, is_told=settings.publish_events)
        hashed = _hashed(key)
        number = self.store.kue.next_number()
        try:
            made = self._place(number, job, orderable, document, hashed)
        except KeyReusedError:
            raise KueRefusedError("this Idempotency-Key was used for another job") from None
        except SlidelaneError as fault:
            if fault.code == "store_unreachable":
                raise
            self.store.kue.refuse(number, job.sent, _why_not(fault))
            made = number
        return Created(200, {"message": _CREATED, "id": made})

    def _place(
        self, number: int, job: SentJob, orderable: Orderable, document: Any, key: str | None
    ) -> int:
        """Return the number of the job: another one where an earlier request had the same key."""
        services = self.config.services
        caller = Caller(NAME, services.kue.max_priority, services.kue.max_waiting)
        placement = Placement(
            self.config, self.store, caller, self.store.kue.new_job(number, job.sent)
        )
        placed = None
        if key is not None:
            placed = placement.known(key, document)
        if placed is None:
            order = order_document(number, job, services.kue, services.destinations)
            placed = placement.place(order_of(order), orderable, key, document)
        if not placed.is_replay:
            return number
        known = self.store.kue.number_of(placed.order_id)
        if known is None:
            raise KueRefusedError("the job of this Idempotency-Key was removed")
        return known


def _why_not(fault: SlidelaneError) -> str:
    """Return why a job could not be an order, as its error: a message, then what to do."""
    lines = [f"{fault.code}: {fault.detail}"]
    if fault.problem.hint:
        lines.append(f"hint: {fault.problem.hint}")
    return "\n".join(lines)


def _hashed(key: str | None) -> str | None:
    if key is None:
        return None
    return hashlib.sha256(f"{NAME}\n{key}".encode()).hexdigest()


def _number(word: str) -> int:
    """Return the number that a word of a path is. Raise `KueJobNotFoundError` for another word."""
    is_number = word.isascii() and word.isdecimal() and len(word) <= _LONGEST_NUMBER
    if not is_number or str(int(word)) != word:
        raise KueJobNotFoundError(word)
    return int(word)
