"""A courier without a process: it makes the delivery attempts of orders on a real Redis."""

import threading
from typing import Any

from broker.errors import Problem, TemporaryError
from broker.file_storage import open_storage
from broker.order_store import Claim, OrderStore
from broker.orders.order import Order, Stage
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings, DeliverySettings
from tests.support.results import Drawn, a_result
from tests.support.stack import wait_for
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.deliver_order import Deliverer
from worker.http_session import session
from worker.process.lease import Lease, Limits
from worker.results import result_folder

READ_TIMEOUT_S = 0.5
"""How long the courier waits for an answer."""
PATIENCE_S = 2.0
"""After so long it believes that a lost attempt did not arrive."""


class Courier:
    """Delivers as a courier's process does, one attempt at a time; it retries at once."""

    def __init__(self, settings: BrokerSettings, **changed: Any) -> None:
        self.data = settings.data
        self.settings = settings.model_copy(update={"lease_s": 0.4, "heartbeat_s": 0.1})
        self.store = OrderStore.connect(self.settings)
        deliver = {"read_timeout_s": READ_TIMEOUT_S, "unknown_patience_s": PATIENCE_S}
        self.deliver = DeliverySettings(**(deliver | {"first_retry_s": 0.01} | changed))
        http = session(
            ["127.0.0.1"],
            connect_timeout_s=1,
            read_timeout_s=READ_TIMEOUT_S,
            encrypted_only=True,
        )
        breakers = CircuitBreakers(max_concurrent=2)
        self._deliverer = Deliverer(
            self.store, open_storage(settings), http, breakers, self.deliver
        )

    def to_deliver(self, destination: dict[str, Any], **more: Any) -> str:
        """Return the id of an order whose only scan is classified; `more`: other fields of it."""
        scans = [{"id": "1", "source": {"type": "path", "path": "/a.svs"}}]
        body = {"algorithm": "ki67", "scans": scans, "destination": destination, **more}
        request = OrderRequest.model_validate(body, strict=False)
        order_id = self.store.create(request, queue="gpu").order_id
        result = a_result(order_id=order_id, scan_id="1")
        result_folder.save(self.data / "results" / "1", result, Drawn(b"\x89PNG"))
        self.store.finish(self.claimed(f"{order_id}.0", "fetch"), "staged")
        classify = self.claimed(f"{order_id}.0", "classify")
        self.store.finish(classify, "classified", {"result": "results/1"})
        return order_id

    def claimed(self, work: str, stage: Stage = "deliver") -> Claim:
        """Claim the work as soon as it waits; the scheduler runs meanwhile."""

        def claim_if_due() -> Claim | None:
            self.store.due()
            return self.store.claim(work, stage, "w")

        claim = wait_for(claim_if_due, within_s=20, what=f"{stage} of {work}")
        assert isinstance(claim, Claim)
        return claim

    def attempt(self, order_id: str) -> None:
        """Make one attempt, or ask what became of the last one."""
        claim = self.claimed(order_id)
        leaving = threading.Event()
        with Lease(self.store, claim, self.settings, Limits(60, 60), leaving, _must_not) as lease:
            self._deliverer.attempt(self.store.get(order_id), claim, lease)

    def deliver_until_it_ends(self, order_id: str, at_most: int = 40) -> Order:
        """Return the order after as many attempts and questions as it takes."""
        for _ in range(at_most):
            if self.store.get(order_id).state != "delivering":
                break
            self._attempt_or_give_back(order_id)
        return self.store.get(order_id)

    def _attempt_or_give_back(self, order_id: str) -> None:
        """Do as `worker.tasks` does with a destination that does not answer."""
        claim = self.claimed(order_id)
        leaving = threading.Event()
        with Lease(self.store, claim, self.settings, Limits(60, 60), leaving, _must_not) as lease:
            try:
                self._deliverer.attempt(self.store.get(order_id), claim, lease)
            except TemporaryError as error:
                self.store.give_back(claim, problem=error.problem, delay_s=0.1)

    def log(self, order_id: str) -> str:
        """Return the order's log as text."""
        return "\n".join(str(line["text"]) for line in self.store.log(order_id))


def _must_not(problem: Problem) -> None:
    raise AssertionError(problem)
