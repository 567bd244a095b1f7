"""How an attempt at a stage ended, in words for people. Imports no Celery."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.errors import Problem
from broker.log import one_line
from broker.order_store import TaskMessage
from broker.orders.order import ENDED, Order, OrderState, ScanState, parse_work_id

_MAX_SENTENCE: Final = 190
"""Characters of a sentence. With the quotes that Celery adds, a result stays below 200."""
_MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt, and the task messages to enqueue.

    `end`: the stage is done; or its scan or delivery failed for good; or the work waits again,
    for `delay_s` at least. `text` says so to people; of failed work it is `CODE: detail`.
    """

    end: Literal["done", "failed", "given_back"]
    text: str
    messages: tuple[TaskMessage, ...] = ()
    delay_s: float = 0.0

    @property
    def line(self) -> str:
        """Return the text as one short line without secrets; at most 190 characters if done."""
        longest = _MAX_REASON
        if self.end == "done":
            longest = _MAX_SENTENCE
        line = one_line(self.text)
        if len(line) > longest:
            line = line[: longest - 1] + "…"
        return line


def failed(problem: Problem, messages: tuple[TaskMessage, ...] = ()) -> Outcome:
    """Return the outcome of work that failed with this problem."""
    return Outcome("failed", f"{problem.code}: {problem.detail}", messages)


def given_back(
    reason: str, messages: tuple[TaskMessage, ...] = (), delay_s: float = 0.0
) -> Outcome:
    """Return the outcome of work that waits again, for this reason."""
    text = f"given back: {reason}"
    if delay_s > 0:
        text += f"; next try in {delay_s:.0f} s"
    return Outcome("given_back", text, messages, delay_s)


def recorded(order: Order, work: str, otherwise: str) -> Outcome:
    """Return the outcome that the record shows; `otherwise` says why work that waits was stopped.

    For attempts whose end was recorded elsewhere: by another thread, process or worker.
    """
    _, index = parse_work_id(work)
    if index is not None and order.scans[index].state == ScanState.CLASSIFIED:
        return Outcome("done", "classified")
    error = order.error
    has_failed = order.state == OrderState.UNDELIVERED
    if index is not None:
        error = order.scans[index].error
        has_failed = order.scans[index].state == ScanState.FAILED
    if has_failed and error:
        return Outcome("failed", _reason(error))
    if order.state in ENDED:
        return Outcome("done", f"stopped: the order is {order.state.value}")
    return given_back(otherwise)


def _reason(error: dict[str, Any]) -> str:
    return f"{error['code']}: {error['detail']}"
