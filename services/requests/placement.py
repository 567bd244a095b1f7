"""Places orders: checks them against what can be ordered, stores them, and enqueues their tasks.

Every door places orders through here, so that the same rules hold whoever comes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from broker.errors import OrderError
from broker.order_store import Creator, OrderStore
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.request import OrderRequest
from broker.orders.stains import MISMATCH_HINT, contradiction, on_mismatch
from broker.queue.celery_app import enqueue
from broker.settings.config import Config
from services.auth import Caller
from services.policies.choice import filled
from services.requests.admission import admit, check_priority
from services.requests.named_destinations import resolve, resolve_webhook
from services.requests.order_validation import order_of
from services.slides.order_sources import ChangeCheck, with_own_sources
from services.uploads.ordering import check_uploads


@dataclass(frozen=True, slots=True)
class Placed:
    """An order that is stored; `is_replay` where an earlier request with the same key made it."""

    order_id: str
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Orderable:
    """What can be ordered at one moment: the cards, and why other algorithms cannot run."""

    cards: Mapping[str, AlgorithmCard]
    unavailable: Mapping[str, str]

    @classmethod
    def of(cls, store: OrderStore) -> Self:
        """Return what the workers have announced by now."""
        return cls(store.cards(), store.unavailable())


@dataclass(frozen=True, slots=True)
class Admitted:
    """An order as it would be stored: its slides and destinations are what their names stand for.

    `card`: of its algorithm. `looked_at`: by their number, the scans whose slide somebody looked
    at, with its place in the slide cache.
    """

    request: OrderRequest
    card: AlgorithmCard
    looked_at: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Placement:
    """Places orders for one caller.

    `job`: that of Kue which the order is, where it is one. `check`: says whether slides that were
    looked at have changed, where they may be ordered.
    """

    config: Config
    store: OrderStore
    caller: Caller
    job: Mapping[str, Any] | None = None
    check: ChangeCheck | None = None

    def place_document(
        self, document: Any, key: str | None, orderable: Orderable | None = None
    ) -> Placed:
        """Store the order that a JSON document describes, or return that of the same key.

        `orderable` spares asking for it for each of many orders. Raises as `known` and `place` do.
        """
        request = self.requested(document)
        if key is not None:
            known = self.known(key, document)
            if known:
                return known
        return self.place(request, orderable or Orderable.of(self.store), key, document)

    def requested(self, document: Any) -> OrderRequest:
        """Return the order that a JSON document describes, filled in from the settings.

        Raise `OrderError`.
        """
        return order_of(filled(document, self.config.services))

    def known(self, key: str, document: Any) -> Placed | None:
        """Return the order that this key and document made before, or None.

        An order that was accepted before is not checked again: meanwhile its expiry may have
        passed, or its algorithm may be gone. Raise `OrderError("key_reused")`.
        """
        order_id = self.store.find_by_key(key, fingerprint(document))
        if order_id is None:
            return None
        return Placed(order_id, is_replay=True)

    def place(
        self,
        request: OrderRequest,
        orderable: Orderable,
        key: str | None,
        document: Any,
        *,
        key_life_s: int | None = None,
    ) -> Placed:
        """Store the order and enqueue its first tasks.

        `document` is the request as it was sent, which a repetition with the same `key` must equal.
        A key is remembered for `key_life_s`, or `broker.idempotency_s` without it.
        Raise `OrderError` for what can be known to be wrong, `TemporaryError` for what may pass.
        """
        admitted = self.admitted(request, orderable)
        known_by = ""
        if key is not None:
            known_by = fingerprint(document)
        created = self.store.create(
            admitted.request,
            queue=admitted.card.queue,
            key=key,
            fingerprint=known_by,
            creator=Creator(
                self.caller.name, self.caller.max_waiting, self.job, admitted.looked_at
            ),
            key_life_s=key_life_s,
        )
        enqueue(created.messages)
        return Placed(created.order_id, is_replay=not created.fresh)

    def admitted(self, request: OrderRequest, orderable: Orderable) -> Admitted:
        """Return the order as it would be stored. Store nothing.

        Raise `OrderError` for what can be known to be wrong, `TemporaryError` for what may pass.
        """
        _check_available(request.algorithm, orderable.unavailable)
        check_priority(request.priority, self.caller.name, self.caller.max_priority)
        destination = resolve(request.destination, self.config.services.destinations)
        request = request.model_copy(update={"destination": destination})
        notify = request.notify or self.config.services.notify
        if notify is not None:
            webhook = resolve_webhook(notify, self.config.services.destinations)
            request = request.model_copy(update={"notify": webhook})
        admitted, card = admit(request, orderable.cards, self.config)
        _check_stains(admitted, card)
        # Last: the URL of a slide that was looked at was checked then, and may expire.
        own = with_own_sources(admitted, self.store, self.caller, self.check)
        check_uploads(own.request, self.config, self.caller.name)
        return Admitted(own.request, card, own.looked_at)


def fingerprint(document: Any) -> str:
    """Return the SHA-256 of the document as it was sent, before any default is filled in.

    A default that has changed since must not make it another order.
    """
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_available(algorithm: str, unavailable: Mapping[str, str]) -> None:
    """Raise `OrderError` for an algorithm that workers have and none can run."""
    if algorithm in unavailable:
        raise OrderError(
            "algorithm_unavailable",
            unavailable[algorithm],
            hint="the operator corrects the setting or the model folder; "
            "GET /v1/algorithms shows when it is available again",
            field="algorithm",
        )


def _check_stains(request: OrderRequest, card: AlgorithmCard) -> None:
    """Raise `OrderError` for a scan whose stain, as the order states it, is none of the card's."""
    if on_mismatch(request.parameters, card) != "fail":
        return
    for index, scan in enumerate(request.scans):
        contradicts = contradiction(scan.stain, card)
        if contradicts:
            raise OrderError(
                "stain_unexpected",
                f"scans[{index}].stain: {contradicts}",
                hint=MISMATCH_HINT,
                field=f"scans[{index}].stain",
            )
