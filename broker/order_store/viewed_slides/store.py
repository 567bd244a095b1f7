"""The slides that people look at: created, fetched under a lease, opened, and forgotten.

A record is forgotten 24 h after its last use. Whoever fetches a slide holds a claim as for a scan;
one without a sign of life is given to another courier, at most `MOST_ATTEMPTS` times in all.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.errors import OrderError, Problem, TemporaryError
from broker.order_store.keys import Key
from broker.order_store.lifecycle import Claim, Fields, LeaseLostError, LeaseState
from broker.order_store.redis_client import StoreBase, reachable
from broker.order_store.viewed_slides.record import (
    NewSlide,
    ViewedSlide,
    opened_fields,
    place_fields,
    problem_fields,
    slide_from,
)
from broker.orders.fields import Priority

KEEP_S: Final = 86_400
MOST_ATTEMPTS: Final = 3
"""So often a slide is tried to be fetched; then it has failed."""
_LONGEST_RESEND_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class SlideMessage:
    """A message to enqueue: a slide waits to be fetched. It may be lost or doubled."""

    slide_id: str
    priority: Priority
    attempt: int = 1

    @property
    def task_id(self) -> str:
        """Return the id of the Celery task that does this attempt."""
        return f"{self.slide_id}:fetch_slide:{self.attempt}"


class ViewedSlides(StoreBase):
    """The records of slides that people look at. Safe to share between threads.

    `most_fetching` slides may be fetched or wait for it at a time, and of one caller as many as
    `NewSlide` says. `most_of_caller` are kept for one caller; the oldest is forgotten for one more.
    """

    most_fetching = 1000
    most_of_caller = 5000

    def create(self, new: NewSlide) -> tuple[ViewedSlide, SlideMessage | None]:
        """Store a slide; return it, and the message to enqueue where it is to be fetched.

        Raise `TemporaryError("too_many_waiting")`.
        """
        slide_id = secrets.token_hex(16)
        fields = new.fields(self._encryption) | {"priority": new.priority}
        answer = self._client.run(
            "slide_create",
            slide_id,
            json.dumps(fields),
            KEEP_S * 1000,
            self.most_of_caller,
            self.most_fetching,
            new.most_fetching,
        )
        if answer == "full_of_caller":
            raise TemporaryError(
                "too_many_waiting",
                f"{new.most_fetching} slides of {new.created_by!r} wait to be fetched",
                hint="wait until they are fetched, or DELETE /v1/slides/{id} for one of them; "
                "max_waiting of the key is the limit",
                retry_after_s=30,
            )
        if answer != "ok":
            raise TemporaryError(
                "too_many_waiting",
                f"{self.most_fetching} slides wait to be fetched",
                hint="look at it again later, or order it without looking",
                retry_after_s=30,
            )
        message = None
        if fields["state"] == "fetching":
            message = SlideMessage(slide_id, new.priority)
        return slide_from(slide_id, fields, self._encryption), message

    def use(self, slide_id: str) -> ViewedSlide:
        """Return the slide, which is kept for another 24 h. Raise `OrderError("not_found")`."""
        with reachable():
            pipeline = self._client.records.pipeline(transaction=False)
            pipeline.hgetall(Key.SLIDE + slide_id)
            pipeline.expire(Key.SLIDE + slide_id, KEEP_S)
            stored, _ = pipeline.execute()
        if not stored:
            raise _not_found(slide_id)
        try:
            return slide_from(slide_id, stored, self._encryption)
        except (ValueError, KeyError):
            raise OrderError(
                "record_unreadable",
                f"the record of slide {slide_id} is damaged",
                hint="look at the slide again with POST /v1/slides",
            ) from None

    def delete(self, slide_id: str) -> None:
        """Forget the slide; whoever fetches it has lost the lease. Raise `OrderError`."""
        if self._client.run("slide_delete", slide_id) != "deleted":
            raise _not_found(slide_id)

    def opened(self, slide: ViewedSlide, facts: Mapping[str, Any]) -> None:
        """Note what the viewer answered about a slide that was fetched."""
        self._settle(slide, {"state": "ready"} | opened_fields(facts))

    def failed(self, slide: ViewedSlide, problem: Problem) -> None:
        """Note why the viewer cannot open a slide that was fetched."""
        self._settle(slide, {"state": "failed"} | problem_fields(problem))

    def claim(self, slide_id: str, worker: str) -> Claim | None:
        """Claim a slide that waits to be fetched, or return None when it does not (any more)."""
        answer = self._client.run_json("slide_claim", slide_id, self._lease_ms, MOST_ATTEMPTS)
        if "refused" in answer:
            return None
        attempts = int(answer["attempts"])
        fence = int(answer["fence"])
        return Claim(slide_id, "fetch", worker, fence, attempts, 0, attempts, MOST_ATTEMPTS)

    def renew(self, claim: Claim, progress: Fields | None = None) -> LeaseState:
        """Prolong the lease and store the progress. Return how the claim stands."""
        text = ""
        if progress:
            text = json.dumps(progress)
        state: LeaseState = self._client.run(
            "slide_renew", claim.work, claim.fence, self._lease_ms, text
        )
        return state

    def check_lease(self, claim: Claim) -> LeaseState:
        """Return how the claim stands; write nothing."""
        with reachable():
            state, fence = self._client.records.hmget(Key.SLIDE + claim.work, "state", "fence")
        if state == "fetching" and fence == str(claim.fence):
            return "ok"
        return "lost"

    def finish(self, claim: Claim, place: Fields) -> None:
        """End the claim: the slide is in the slide cache, as the record of a scan says it.

        Raise `LeaseLostError`.
        """
        self._end(claim, {"state": "fetched"} | place_fields(self._encryption, place))

    def fail(self, claim: Claim, problem: Problem) -> None:
        """End the claim: the slide cannot be fetched. Raise `LeaseLostError`."""
        self._end(claim, {"state": "failed"} | problem_fields(problem))

    def give_back(self, claim: Claim, delay_s: float = 0, *, counts: bool = True) -> None:
        """End the claim: the slide waits again, from `delay_s` on.

        `counts`: whether it was one of the attempts. Raise `LeaseLostError`.
        """
        self._end(claim, {"state": "fetching"}, delay_s, counts=counts)

    def due(self, limit: int = 100) -> tuple[SlideMessage, ...]:
        """Check what is due: a lease ended, or a message was lost. Return the messages to enqueue.

        A slide that was tried `MOST_ATTEMPTS` times becomes `failed`.
        """
        again_ms = int(self._settings.hint_again_s * 1000)
        answer = self._client.run_json(
            "slide_due", limit, again_ms, _LONGEST_RESEND_MS, MOST_ATTEMPTS
        )
        return tuple(SlideMessage(*one) for one in answer["messages"] or ())

    def signing_key(self) -> bytes:
        """Return the key that signs links to slides: of `broker.secret_key`, or a random one."""
        given = self._settings.secret_key
        if given and given.get_secret_value():
            return given.get_secret_value().encode()
        with reachable():
            records = self._client.records
            records.set(Key.SLIDES_KEY, secrets.token_hex(32), nx=True)
            return str(records.get(Key.SLIDES_KEY)).encode()

    def _settle(self, slide: ViewedSlide, fields: Mapping[str, str]) -> None:
        self._client.run("slide_settle", slide.id, json.dumps(fields))

    def _end(
        self, claim: Claim, fields: Mapping[str, str], delay_s: float = 0, *, counts: bool = True
    ) -> None:
        answer = self._client.run(
            "slide_end",
            claim.work,
            claim.fence,
            json.dumps(fields),
            int(delay_s * 1000),
            int(counts),
        )
        if answer != "ok":
            raise LeaseLostError(claim.work)

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_s * 1000)


def _not_found(slide_id: str) -> OrderError:
    return OrderError(
        "not_found",
        f"there is no slide {slide_id[:64]!r}",
        hint="a slide is forgotten 24 h after its last use; look at it again with POST /v1/slides",
    )
