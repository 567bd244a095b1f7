"""Alive, and ready: what an orchestrator asks before it restarts us or sends traffic."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from broker.errors import Problem, TemporaryError
from broker.order_store import OrderStore
from broker.queue.names import COURIER_QUEUES, base_of
from services.responses.problems import RETRY_AFTER_S, answer


def routes(store: OrderStore) -> APIRouter:
    """`/healthz` and `/readyz`: open to everybody, they tell no order."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process answers. Asks nobody else, so that a Redis that is away restarts nothing."""
        return {"status": "ok"}

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """Orders would be worked on: Redis answers, and every stage has a worker."""
        missing = _missing(store)
        if not missing:
            return JSONResponse({"status": "ready"})
        problem = Problem("workers_missing", f"missing: {'; '.join(missing)}")
        return answer(problem, "/readyz", headers={"retry-after": str(RETRY_AFTER_S)})

    return router


def _missing(store: OrderStore) -> list[str]:
    try:
        store.ping()
        workers = store.workers()
    except TemporaryError as fault:
        return [fault.detail]
    consumed = {base_of(queue) for worker in workers for queue in worker.queues}
    missing = [
        f"no courier consumes the queue {name}" for name in COURIER_QUEUES if name not in consumed
    ]
    return (
        missing
        if consumed - set(COURIER_QUEUES)
        else [*missing, "no worker consumes a queue for classifying"]
    )
