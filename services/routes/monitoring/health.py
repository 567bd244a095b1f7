"""Routes for orchestrators: is this process alive, and would orders be worked on?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from broker.disk_space import full_disk
from broker.errors import Problem, TemporaryError
from broker.order_store import OrderStore, WorkerView
from broker.order_store.announced.workers import reasons_of
from broker.queue.names import COURIER_QUEUES, base_of
from broker.settings.config import BrokerSettings
from services.dependencies import Keys, Settings, Store
from services.responses.problems import RETRY_AFTER_S, answer

router = APIRouter(tags=["health"])
"""`/healthz` and `/readyz` need no key, because they show no order."""


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """This process answers. Redis is not asked, so that its absence restarts nothing."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(config: Settings, store: Store, keys: Keys) -> JSONResponse:
    """Orders would be worked on: Redis answers, and every stage has a worker.

    `unavailable` lists the algorithms that no worker can run; the others can be ordered.
    """
    readiness = _Readiness.of(store, config.broker)
    keys.current()
    if not readiness.missing:
        answered: dict[str, Any] = {"status": "ready"} | readiness.unavailable_part
        if keys.fault:
            # Those who have a key are served as before, so this is no reason to serve nobody.
            answered["warnings"] = [keys.fault]
        return JSONResponse(answered)
    problem = Problem("workers_missing", f"missing: {'; '.join(readiness.missing)}")
    return answer(problem, "/readyz", headers={"retry-after": str(RETRY_AFTER_S)})


@dataclass(frozen=True, slots=True)
class _Readiness:
    """What an order would lack: `missing`, without which every order would wait for ever.

    `unavailable`: why each algorithm that no worker can run is unavailable, by name.
    """

    missing: Sequence[str]
    unavailable: Mapping[str, str]

    @classmethod
    def of(cls, store: OrderStore, settings: BrokerSettings) -> "_Readiness":
        """Return how things stand now."""
        missing = []
        unavailable: Mapping[str, str] = {}
        full = full_disk(settings.folders)
        if full:
            missing.append(full)
        try:
            store.ping()
            workers = store.workers()
            unavailable = reasons_of(workers)
            missing += _missing_workers(workers)
            missing += _missing_algorithms(workers, unavailable)
        except TemporaryError as fault:
            missing.append(fault.detail)
        return cls(missing, unavailable)

    @property
    def unavailable_part(self) -> dict[str, Any]:
        """Return the field `unavailable` of the answer; nothing where every algorithm runs."""
        if not self.unavailable:
            return {}
        algorithms = [
            {"algorithm": name, "reason": reason} for name, reason in self.unavailable.items()
        ]
        return {"unavailable": algorithms}


def _missing_workers(workers: Sequence[WorkerView]) -> list[str]:
    """Return a sentence for each stage that has no worker."""
    consumed: set[str] = set()
    for worker in workers:
        # `gpu.high` is the queue `gpu` at one priority.
        consumed.update(base_of(queue) for queue in worker.queues)
    missing = [
        f"no courier consumes the queue {name}" for name in COURIER_QUEUES if name not in consumed
    ]
    if not consumed - set(COURIER_QUEUES):
        missing.append("no worker consumes a queue for classifying")
    return missing


def _missing_algorithms(workers: Sequence[WorkerView], unavailable: Mapping[str, str]) -> list[str]:
    """Return what keeps orders of a new service from being placed.

    Algorithms that are still being loaded for the first time, or no algorithm that can be run.
    """
    offered: set[str] = set()
    checking: set[str] = set()
    for worker in workers:
        checking.update(worker.checking)
        offered.update(worker.offered or ())
    missing = [
        f"a worker is loading the algorithm {name} for the first time"
        for name in sorted(checking - offered)
    ]
    if unavailable and not offered and not checking:
        reasons = [f"{name}: {reason}" for name, reason in unavailable.items()]
        missing.append(f"every algorithm is unavailable ({'; '.join(reasons)})")
    return missing
