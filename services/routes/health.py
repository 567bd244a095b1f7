"""Routes for orchestrators: is this process alive, and would orders be worked on?"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from broker.errors import Problem, TemporaryError
from broker.order_store import OrderStore
from broker.queue.names import COURIER_QUEUES, base_of
from services.api_keys import ApiKeys
from services.responses.problems import RETRY_AFTER_S, answer


def routes(store: OrderStore, keys: ApiKeys) -> APIRouter:
    """Return `/healthz` and `/readyz`, which need no key because they show no order."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process answers. Redis is not asked, so that its absence restarts nothing."""
        return {"status": "ok"}

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """Orders would be worked on: Redis answers, and every stage has a worker."""
        missing = _missing(store)
        keys.current()
        if not missing and keys.fault:
            # Those who have a key are served as before, so this is no reason to serve nobody.
            return JSONResponse({"status": "ready", "warnings": [keys.fault]})
        if not missing:
            return JSONResponse({"status": "ready"})
        problem = Problem("workers_missing", f"missing: {'; '.join(missing)}")
        return answer(problem, "/readyz", headers={"retry-after": str(RETRY_AFTER_S)})

    return router


def _missing(store: OrderStore) -> list[str]:
    """Return a sentence for each thing without which an order would wait for ever."""
    try:
        store.ping()
        workers = store.workers()
    except TemporaryError as fault:
        return [fault.detail]
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
