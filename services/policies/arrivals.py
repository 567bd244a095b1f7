"""Places the orders of slides that have arrived in watched folders.

A courier finds the slides; policies, destinations and all checks of an order are here. One arrival
that was begun and not ended is begun again, and its key makes the same order of it.
"""

import hashlib
import logging
import re
from pathlib import PurePosixPath
from threading import Event
from typing import Any, Final

from broker.errors import ErrorCode, OrderError, SlidelaneError, TemporaryError
from broker.order_store import OrderStore
from broker.order_store.arrivals import Arrival
from broker.settings.config import Config
from broker.settings.services.policies import Policy
from services.auth import Caller
from services.policies.choice import by_policy
from services.policies.matching import ScanFacts, fitting
from services.requests.order_validation import order_of
from services.requests.placement import Orderable, Placement

_TICK_S: Final = 0.5
_PAUSE_S: Final = 3.0
_AGAIN_S: Final = 10.0
_LONGEST_AGAIN_S: Final = 60.0
_PASSING: Final[tuple[ErrorCode, ...]] = ("algorithm_unknown", "algorithm_unavailable")
"""What the operator or a worker that starts corrects: the slide waits for it."""
_NO_ID: Final = re.compile(r"[^A-Za-z0-9._:-]+")
_LONGEST_ID: Final = 128
_log = logging.getLogger(__name__)


def document_of(arrival: Arrival, policy: Policy, config: Config) -> dict[str, Any]:
    """Return the order of a slide by a policy, as it would be sent to `POST /v1/orders`."""
    scan: dict[str, Any] = {
        "id": _scan_id(arrival.path),
        "source": {"type": "path", "path": arrival.path},
    }
    if arrival.stain:
        scan["stain"] = arrival.stain
    if arrival.mpp:
        scan["mpp"] = arrival.mpp
    document = {"scans": [scan], "labels": dict(arrival.labels)}
    return by_policy(document, policy, config.services)


def _scan_id(path: str) -> str:
    """Return the name of the file as an id; one that is not ASCII is told by its digest."""
    stem = _NO_ID.sub("-", PurePosixPath(path).stem).strip("-._:")[:_LONGEST_ID]
    return stem or hashlib.sha256(path.encode()).hexdigest()[:16]


class ArrivalPlacer:
    """Takes arrivals and places their orders. Several at once are safe."""

    def __init__(self, config: Config, store: OrderStore) -> None:
        self._config = config
        self._store = store

    def run(self, stopped: Event) -> None:
        """Place orders until `stopped`; go on after an outage of Redis."""
        pause_s = _TICK_S
        while not stopped.wait(pause_s):
            try:
                self.step()
            except TemporaryError as error:
                if pause_s == _TICK_S:
                    fields = {"code": error.code}
                    _log.warning("orders by policies wait: %s", error.detail, extra=fields)
                pause_s = _PAUSE_S
                continue
            except Exception:  # noqa: BLE001 - a thread that ends would stop them in silence
                _log.exception("orders by policies wait: a fault in Slidelane")
                pause_s = _PAUSE_S
                continue
            pause_s = _TICK_S

    def step(self) -> int:
        """Place the orders of what is due; return how many arrivals that was.

        Raise `TemporaryError` where Redis does not answer.
        """
        arrivals = self._store.arrivals.take()
        if not arrivals:
            return 0
        orderable = Orderable.of(self._store)
        for arrival in arrivals:
            self._handle(arrival, orderable)
        return len(arrivals)

    def _handle(self, arrival: Arrival, orderable: Orderable) -> None:
        facts = ScanFacts(arrival.stain, arrival.path, arrival.modality, arrival.labels)
        refused = None
        for policy in fitting(self._config.services.policies, facts, arrival.policy):
            try:
                self._place(arrival, policy, orderable)
            except TemporaryError as error:
                if error.code == "store_unreachable":
                    raise
                self._postpone(arrival, policy, error, error.retry_after_s or _AGAIN_S)
                return
            except OrderError as error:
                if error.code in _PASSING:
                    self._postpone(arrival, policy, error, _AGAIN_S)
                    return
                _log.warning(
                    "the policy %s orders nothing for a slide in the watched folder %s: %s; "
                    "slidelane doctor names the slide",
                    policy.name,
                    arrival.folder,
                    error.code,
                    extra={"code": error.code},
                )
                refused = error.problem
        self._store.arrivals.end(arrival, refused)

    def _place(self, arrival: Arrival, policy: Policy, orderable: Orderable) -> None:
        """Place the order, unless it is placed already. Raise `SlidelaneError`."""
        content = {"path": arrival.path, "identity": arrival.identity}
        key = hashlib.sha256(
            f"policy\0{policy.name}\0{arrival.path}\0{arrival.identity}".encode()
        ).hexdigest()
        placement = Placement(self._config, self._store, Caller(f"policy:{policy.name}"))
        if placement.known(key, content):
            return
        request = order_of(document_of(arrival, policy, self._config))
        keep_s = int(self._config.broker.keep_s)
        placement.place(request, orderable, key, content, key_life_s=keep_s)

    def _postpone(
        self, arrival: Arrival, policy: Policy, error: SlidelaneError, delay_s: float
    ) -> None:
        """Let the arrival wait; say why where that is new."""
        if arrival.waits_for != error.code:
            _log.warning(
                "the policy %s waits with a slide: %s: %s",
                policy.name,
                error.code,
                error.detail,
                extra={"code": error.code},
            )
            self._store.arrivals.postpone(arrival, error.code, min(delay_s, _LONGEST_AGAIN_S))
            return
        self._store.arrivals.postpone(arrival, error.code, _LONGEST_AGAIN_S)
