"""Measures orders per second from submitted to finished, against a bare Celery chain.

There are three contestants on one Redis, in interleaved rounds: whole orders, orders without work,
and Celery. Each has eight courier threads and two processes that classify: two workers of one
child each, as `docker compose up --scale worker=2` starts them, and two prefork processes for the
others. A whole order is `grid` on a slide of 512 px, a result of four synced files, a payload, and
a delivery to no destination.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Protocol

from celery import Celery

from benchmarks.celery_chain import FINISHED
from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.queue.celery_app import TASKS
from broker.queue.names import queue_names
from demo.slide import make_sample_slide

THREADS = 8
WORKERS = 2
"""Processes that classify, for every contestant."""
# Redis databases. Slidelane uses two each time.
WHOLE = 0
EMPTY = 2
CHAIN = 4
WARM_UP_ORDERS = 8
WHOLE_SHARE = 5
"""Whole orders are slower; a round has this many times fewer of them."""


class Contestant(Protocol):
    """A queue that takes orders and finishes them."""

    def submit(self) -> None:
        """Submit one order."""

    def finished(self) -> int:
        """Return how many orders were finished since the start."""


class Orders:
    """Orders for `grid`, for the workers on this database."""

    def __init__(self, env: Environment, database: int) -> None:
        scan = {"id": "1", "source": {"type": "path", "path": str(env.folder / "slide.svs")}}
        self._request = OrderRequest.model_validate_json(
            json.dumps({"algorithm": "grid", "scans": [scan]})
        )
        self._store = OrderStore.connect(env.settings(database))
        self._app = Celery(broker=env.url(database))

    def submit(self) -> None:
        """Store the order, then enqueue its tasks, as the API does."""
        for message in self._store.create(self._request, queue="gpu").messages:
            self._app.send_task(TASKS[message.stage], args=[message.work], queue=message.queue)

    def finished(self) -> int:
        """Return how many orders are delivered."""
        return self._store.counts()["delivered"]


class Chain:
    """Messages for the chain."""

    def __init__(self, env: Environment) -> None:
        self._redis = env.client(CHAIN)
        self._app = Celery(broker=env.url(CHAIN))

    def submit(self) -> None:
        """Send one message; its argument is as long as the name of a scan."""
        self._app.send_task("chain.first", args=["0123456789abcdef01234567.0"], queue="first")

    def finished(self) -> int:
        """Return how many chains have ended."""
        return int(self._redis.get(FINISHED) or 0)


def measure(rounds: int, orders: int, report: Callable[[str], None]) -> list[Comparison]:
    """Measure in interleaved rounds; the idle contestants cost the same for all."""
    with Environment() as env:
        report("starting the workers of three contestants")
        contestants: list[Contestant] = [_whole(env), _empty(env), _chain(env)]
        for contestant in contestants:
            _per_second(env, contestant, WARM_UP_ORDERS)
        rates = []
        for number in range(1, rounds + 1):
            report(f"orders per second, round {number} of {rounds}")
            counts = (max(1, orders // WHOLE_SHARE), orders, orders)
            rates.append(
                [_per_second(env, c, count) for c, count in zip(contestants, counts, strict=True)]
            )
    whole, empty, chain = zip(*rates, strict=True)
    return [
        _row(f"orders without the work, {WORKERS} workers", empty, chain),
        _row(f"whole `grid` orders, {WORKERS} workers", whole, chain),
    ]


def _row(what: str, ours: Sequence[float], chain: Sequence[float]) -> Comparison:
    ratios = tuple(mine / theirs for mine, theirs in zip(ours, chain, strict=True))
    return Comparison(what, "orders/s", median(ours), "bare Celery chain", median(chain), ratios)


def _per_second(env: Environment, contestant: Contestant, orders: int) -> float:
    goal = contestant.finished() + orders
    began = perf_counter()
    for _ in range(orders):
        contestant.submit()
    env.wait_for(lambda: contestant.finished() >= goal, f"the end of {orders} orders")
    return orders / (perf_counter() - began)


def _whole(env: Environment) -> Orders:
    make_sample_slide(env.folder / "slide.svs", 512, 512)
    variables = env.variables(WHOLE, WORKER__COURIER_THREADS=str(THREADS))
    env.start("whole-courier", "worker", "courier", variables=variables)
    for number in range(1, WORKERS + 1):
        env.start(f"whole-gpu-{number}", "worker", "gpu", variables=variables)
    return Orders(env, WHOLE)


def _empty(env: Environment) -> Orders:
    couriers = [*queue_names("deliver"), *queue_names("fetch")]
    _start(
        env,
        "empty_orders",
        {"threads": couriers, "prefork": queue_names("gpu")},
        env.variables(EMPTY),
    )
    return Orders(env, EMPTY)


def _chain(env: Environment) -> Chain:
    queues = {"threads": ["first", "third"], "prefork": ["second"]}
    _start(env, "celery_chain", queues, {"CELERY_BROKER_URL": env.url(CHAIN)})
    return Chain(env)


def _start(
    env: Environment, module: str, queues: Mapping[str, Sequence[str]], variables: Mapping[str, str]
) -> None:
    for pool, names in queues.items():
        concurrency = WORKERS
        if pool == "threads":
            concurrency = THREADS
        options = [
            "--pool",
            pool,
            "--concurrency",
            str(concurrency),
            "-Q",
            ",".join(names),
            "-n",
            f"{module}-{pool}@%h",
        ]
        env.start(
            f"{module}-{pool}",
            "celery",
            "-A",
            f"benchmarks.{module}",
            "worker",
            *options,
            variables=variables,
        )
