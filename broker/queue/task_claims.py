"""Which attempt a task message leads to: the one that its task is named after, another, or none."""

import logging

from broker.order_store import AttemptState, Claim, OrderStore, Standing
from broker.orders.order import ENDED, Stage, attempt_of
from broker.queue import outcome
from broker.queue.outcome import Outcome
from broker.queue.task_report import send_given_back_before, send_outcome, send_started

_log = logging.getLogger(__name__)


def claim_work(store: OrderStore, work: str, stage: Stage, worker: str) -> Claim | None:
    """Claim the work for this worker; for a fetch rather the scan whose URL expires first.

    A scan whose algorithm this worker cannot run is left to another one. It goes on waiting, and
    its message is sent again.
    """
    if stage == "classify" and not store.may_run(worker, work):
        return None
    if stage == "fetch":
        soonest = store.expiring_first(work)
        claim = store.claim(soonest, stage, worker)
        if claim or soonest == work:
            return claim
    return store.claim(work, stage, worker)


def begin_other_attempt(
    store: OrderStore, claim: Claim, work: str, task_id: str
) -> AttemptState | None:
    """Return None where the claim is the attempt that this task is named after.

    Else show that the claimed attempt began, and how the named one stands; return that. An id
    that is none of ours, as of a message of an older version, stands for whatever is claimed.
    """
    number = attempt_of(task_id, work, claim.stage)
    if number is None or task_id == claim.task_id:
        return None
    send_started(claim.task_id, claim.worker)
    standing = store.standing(work, claim.stage)
    named: AttemptState = "to_come"
    if standing:
        named = standing.of_attempt(number)
    if named == "to_come":
        end = _end_without_claim(standing, "the URL of another scan expires sooner")
        send_outcome(task_id, claim.worker, end)
    elif named == "given_back":
        send_given_back_before(task_id, claim.worker)
    return named


def not_claimed(
    store: OrderStore, work: str, stage: Stage, task_id: str
) -> tuple[AttemptState | None, Outcome]:
    """Return how a message ends that found nothing to claim, with one line in the log.

    Also how its attempt stands, where another message began it.
    """
    number = attempt_of(task_id, work, stage)
    standing = store.standing(work, stage)
    named: AttemptState | None = None
    if standing and number is not None and standing.claimed >= number:
        named = standing.of_attempt(number)
        end = Outcome("done", "nothing to do: another message began this attempt")
    else:
        end = _end_without_claim(standing, "it cannot be claimed now")
    _log.info("%s", end.line, extra={"work": work, "stage": stage, "code": "refused"})
    return named, end


def _end_without_claim(standing: Standing | None, reason: str) -> Outcome:
    """Return how a message ends whose attempt nobody began; `reason`: why the work still waits."""
    if standing is None:
        return Outcome("done", "nothing to do: there is no such work")
    if standing.order_state in ENDED:
        return Outcome("done", f"nothing to do: the order is {standing.order_state.value}")
    return outcome.given_back(f"{reason}; it is {standing.state}")
