"""Orders per second from submitted to finished, against a bare Celery chain on the same Redis.

Three contestants with eight courier threads and one prefork process each, in interleaved rounds: whole orders (`grid`
on a slide of 512 px, a result of four synced files, a parcel, a delivery to nowhere), orders without the work, Celery.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Protocol

from celery import Celery

from benchmarks.celery_chain import FINISHED
from benchmarks.comparison import Row
from benchmarks.environment import Bed
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.queue.celery_app import TASKS
from broker.queue.names import queue_names
from demo.slide import make_sample_slide

THREADS = 8
WHOLE, EMPTY, CHAIN = 0, 2, 4  # databases; those of Slidelane take two
WARM_UP_ORDERS = 8
WHOLE_SHARE = 5  # whole orders are slower; a round has this many times fewer of them


class Contestant(Protocol):
    """Somebody who takes orders and finishes them."""

    def submit(self) -> None:
        """One order more."""

    def finished(self) -> int:
        """Orders that went all the way, ever."""


class Orders:
    """Orders for `grid`, for the workers on this database."""

    def __init__(self, bed: Bed, database: int) -> None:
        scan = {"id": "1", "source": {"type": "path", "path": str(bed.folder / "slide.svs")}}
        self._request = OrderRequest.model_validate_json(
            json.dumps({"algorithm": "grid", "scans": [scan]})
        )
        self._store, self._app = (
            OrderStore.connect(bed.settings(database)),
            Celery(broker=bed.url(database)),
        )

    def submit(self) -> None:
        """As the API does: keep it, then ring."""
        for hint in self._store.create(self._request, queue="gpu").messages:
            self._app.send_task(TASKS[hint.stage], args=[hint.work], queue=hint.queue)

    def finished(self) -> int:
        """Orders delivered."""
        return self._store.counts()["delivered"]


class Chain:
    """Messages for the chain."""

    def __init__(self, bed: Bed) -> None:
        self._redis, self._app = bed.client(CHAIN), Celery(broker=bed.url(CHAIN))

    def submit(self) -> None:
        """One message; its argument is as long as the name of a scan."""
        self._app.send_task("chain.first", args=["0123456789abcdef01234567.0"], queue="first")

    def finished(self) -> int:
        """Chains that came to their end."""
        return int(self._redis.get(FINISHED) or 0)


def measure(rounds: int, orders: int, say: Callable[[str], None]) -> list[Row]:
    """Interleaved rounds; what the idle contestants cost is the same for all."""
    with Bed() as bed:
        say("starting three pairs of workers")
        contestants: list[Contestant] = [_whole(bed), _empty(bed), _chain(bed)]
        for contestant in contestants:
            _per_second(bed, contestant, WARM_UP_ORDERS)
        rates = []
        for number in range(1, rounds + 1):
            say(f"orders per second, round {number} of {rounds}")
            counts = (max(1, orders // WHOLE_SHARE), orders, orders)
            rates.append(
                [_per_second(bed, c, count) for c, count in zip(contestants, counts, strict=True)]
            )
    whole, empty, chain = zip(*rates, strict=True)
    return [
        _row("orders without the work", empty, chain),
        _row("whole `grid` orders", whole, chain),
    ]


def _row(what: str, ours: Sequence[float], chain: Sequence[float]) -> Row:
    ratios = tuple(mine / theirs for mine, theirs in zip(ours, chain, strict=True))
    return Row(what, "orders/s", median(ours), "bare Celery chain", median(chain), ratios)


def _per_second(bed: Bed, contestant: Contestant, orders: int) -> float:
    goal, began = contestant.finished() + orders, perf_counter()
    for _ in range(orders):
        contestant.submit()
    bed.wait_for(lambda: contestant.finished() >= goal, f"the end of {orders} orders")
    return orders / (perf_counter() - began)


def _whole(bed: Bed) -> Orders:
    make_sample_slide(bed.folder / "slide.svs", 512, 512)
    environment = bed.environment(WHOLE, WORKER__COURIER_THREADS=str(THREADS))
    for role in ("courier", "gpu"):
        bed.start(f"whole-{role}", "worker", role, environment=environment)
    return Orders(bed, WHOLE)


def _empty(bed: Bed) -> Orders:
    couriers = [*queue_names("deliver"), *queue_names("fetch")]
    _start(
        bed, "empty", {"threads": couriers, "prefork": queue_names("gpu")}, bed.environment(EMPTY)
    )
    return Orders(bed, EMPTY)


def _chain(bed: Bed) -> Chain:
    queues = {"threads": ["first", "third"], "prefork": ["second"]}
    _start(bed, "chain", queues, {"CELERY_BROKER_URL": bed.url(CHAIN)})
    return Chain(bed)


def _start(
    bed: Bed, module: str, queues: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> None:
    for pool, names in queues.items():
        slots = str(THREADS if pool == "threads" else 1)
        wishes = [
            "--pool",
            pool,
            "--concurrency",
            slots,
            "-Q",
            ",".join(names),
            "-n",
            f"{module}-{pool}@%h",
        ]
        bed.start(
            f"{module}-{pool}",
            "celery",
            "-A",
            f"benchmarks.{module}",
            "worker",
            *wishes,
            environment=environment,
        )
