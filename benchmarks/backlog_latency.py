"""Measures what a long backlog costs: the same calls with few and with many orders waiting.

There are two services, each with an API process, a Redis of its own and no worker. Their calls take
turns, so that both meet the same load of the machine. One tick of the scheduler is measured too.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from time import perf_counter

from benchmarks.comparison import Comparison
from benchmarks.environment import Environment
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import WorkerSettings
from demo.stack import free_ports
from worker.algorithms import registry

DATABASE = 0
DUE_ITEMS = 100
"""How many items the scheduler looks at in one tick, whatever the backlog."""
CALLS: Mapping[str, str] = {
    "GET list of 50": "/v1/orders?limit=50&state=queued",
    "GET list, no match": "/v1/orders?label.left=0&label.right=1",
    "GET queues": "/v1/queues",
}
Seconds = dict[str, float]


class IdleService:
    """An API without workers, and the orders that wait there."""

    def __init__(self, env: Environment) -> None:
        (port,) = free_ports(1)
        env.start("api", "services", variables=env.variables(DATABASE, SERVICES__PORT=str(port)))
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        # What the scheduler enqueued is due again at once, so that every tick finds enough to do.
        self._store = OrderStore.connect(env.settings(DATABASE, hint_again_s=0.001))
        self._store.announce(registry.cards_without_model(WorkerSettings().algorithms).values())
        self._redis = env.client(DATABASE)
        self._slide = str(env.folder / "slide.svs")
        self._ids: list[str] = []

    def answers(self) -> bool:
        """Return whether the API listens."""
        try:
            self._call("GET", "/healthz")
        except OSError:
            self._http.close()
            return False
        return True

    def grow(self, waiting: int) -> None:
        """Add orders until so many wait, without a sync to disk for each, which is not measured."""
        self._redis.config_set("appendfsync", "no")
        for number in range(len(self._ids), waiting):
            request = OrderRequest.model_validate_json(self._document(number))
            self._ids.append(self._store.create(request, queue="gpu").order_id)
        self._redis.config_set("appendfsync", "always")

    def turn(self) -> Seconds:
        """Do each call once and return the seconds of each.

        The order that is posted is cancelled again, so that the backlog keeps its length.
        """
        # The API may have closed an idle connection.
        self._http.close()
        self._call("GET", "/healthz")
        took_s = {"POST order": self._post()}
        took_s["GET order"], _ = self._call("GET", f"/v1/orders/{random.choice(self._ids)}")
        for name, path in CALLS.items():
            took_s[name], _ = self._call("GET", path)
        began = perf_counter()
        self._store.due(DUE_ITEMS)
        took_s["tick of the scheduler"] = perf_counter() - began
        return took_s

    def _post(self) -> float:
        body = self._document(len(self._ids)).encode()
        took_s, order = self._call("POST", "/v1/orders", body)
        self._store.cancel(order["id"])
        return took_s

    def _document(self, number: int) -> str:
        """Return an order as it is posted.

        No order has the two labels that are listed for, which is the most expensive list.
        """
        labels = {"case": f"S26-{number}", "left": f"{number % 2}", "right": f"{number % 2}"}
        scan = {"id": "1", "source": {"type": "path", "path": self._slide}}
        return json.dumps({"algorithm": "grid", "scans": [scan], "labels": labels})

    def _call(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[float, dict[str, str]]:
        """Return the seconds until the whole answer was there, and the answer."""
        headers = {}
        if body:
            headers["Content-Type"] = "application/json"
        began = perf_counter()
        self._http.request(method, path, body, headers)
        answer = self._http.getresponse()
        content = answer.read()
        took_s = perf_counter() - began
        if answer.status not in (200, 202):
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {content[:300]!r}")
        return took_s, json.loads(content)


def measure(sizes: Sequence[int], calls: int, report: Callable[[str], None]) -> list[Comparison]:
    """Measure every call with each backlog but the first, in turns with the first."""
    fewest, *others = sizes
    rows: list[Comparison] = []
    with Environment() as one, Environment() as another:
        few = IdleService(one)
        many = IdleService(another)
        one.wait_for(few.answers, "an answer of the API")
        another.wait_for(many.answers, "an answer of the API")
        few.grow(fewest)
        for size in others:
            report(f"latency with {size:,} orders waiting")
            many.grow(size)
            turns = [(many.turn(), few.turn()) for _ in range(calls)]
            rows += _rows(turns, f"{size:,} waiting", f"{fewest:,} waiting")
    return rows


def _rows(
    turns: Sequence[tuple[Seconds, Seconds]], waiting: str, against: str
) -> Iterator[Comparison]:
    for name in turns[0][0]:
        for percent in (50, 99):
            ours = 1000 * percentile([many[name] for many, _ in turns], percent)
            yardstick = 1000 * percentile([few[name] for _, few in turns], percent)
            yield Comparison(f"{name} p{percent}, {waiting}", "ms", ours, against, yardstick)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of all values stay below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
