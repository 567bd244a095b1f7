"""What a long backlog costs: the same calls with few and with many orders waiting, and one look of the timer.

Two services, each an API process on a socket and a Redis of its own, no worker. Their calls take turns, so that both
meet the same machine.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from time import perf_counter

from benchmarks.comparison import Row
from benchmarks.environment import Bed
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import WorkerSettings
from demo.stack import free_ports
from worker.algorithms import registry

DATABASE = 0
DUE_ITEMS = 100  # the timer looks at so many in one tick, whatever the backlog
CALLS: Mapping[str, str] = {
    "GET list of 50": "/v1/orders?limit=50&state=queued",
    "GET list, no match": "/v1/orders?label.left=0&label.right=1",
    "GET queues": "/v1/queues",
}
Seconds = dict[str, float]


class Desk:
    """An API, and orders that wait for nobody."""

    def __init__(self, bed: Bed) -> None:
        (port,) = free_ports(1)
        bed.start(
            "api", "services", environment=bed.environment(DATABASE, SERVICES__PORT=str(port))
        )
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        # What the timer looked at is due again at once, so that every tick finds enough to do.
        self._store = OrderStore.connect(bed.settings(DATABASE, hint_again_s=0.001))
        self._store.announce(registry.cards(WorkerSettings().algorithms).values())
        self._redis, self._slide = bed.client(DATABASE), str(bed.folder / "slide.svs")
        self._ids: list[str] = []

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            self._ask("GET", "/healthz")
        except OSError:
            self._http.close()
            return False
        return True

    def grow(self, waiting: int) -> None:
        """Make the backlog so long; not synced one by one, which only the calls that are measured need."""
        self._redis.config_set("appendfsync", "no")
        for number in range(len(self._ids), waiting):
            request = OrderRequest.model_validate_json(self._document(number))
            self._ids.append(self._store.create(request, queue="gpu").order_id)
        self._redis.config_set("appendfsync", "always")

    def turn(self) -> Seconds:
        """Each call once. The order that is posted is cancelled again: the backlog stays as long as it is."""
        self._http.close()  # an idle connection may have been ended by the API
        self._ask("GET", "/healthz")
        took = {
            "POST order": self._post(),
            "GET order": self._ask("GET", f"/v1/orders/{random.choice(self._ids)}")[0],
        }
        took |= {name: self._ask("GET", path)[0] for name, path in CALLS.items()}
        began = perf_counter()
        self._store.due(DUE_ITEMS)
        return took | {"tick of the timer": perf_counter() - began}

    def _post(self) -> float:
        took, order = self._ask("POST", "/v1/orders", self._document(len(self._ids)).encode())
        self._store.cancel(order["id"])
        return took

    def _document(self, number: int) -> str:
        """An order as it is posted. Two labels of which no order has this pair: the worst that a list can be asked."""
        labels = {"case": f"S26-{number}", "left": f"{number % 2}", "right": f"{number % 2}"}
        scan = {"id": "1", "source": {"type": "path", "path": self._slide}}
        return json.dumps({"algorithm": "grid", "scans": [scan], "labels": labels})

    def _ask(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[float, dict[str, str]]:
        began = perf_counter()
        self._http.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = self._http.getresponse()
        said = answer.read()
        took = perf_counter() - began
        if answer.status not in (200, 202):
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {said[:300]!r}")
        return took, json.loads(said)


def measure(sizes: Sequence[int], calls: int, say: Callable[[str], None]) -> list[Row]:
    """Every call with each backlog but the first, in turns with the first."""
    fewest, *others = sizes
    rows: list[Row] = []
    with Bed() as one, Bed() as another:
        few, many = Desk(one), Desk(another)
        one.wait_for(few.answers, "an answer of the API")
        another.wait_for(many.answers, "an answer of the API")
        few.grow(fewest)
        for size in others:
            say(f"latency with {size:,} orders waiting")
            many.grow(size)
            turns = [(many.turn(), few.turn()) for _ in range(calls)]
            rows += _rows(turns, f"{size:,} waiting", f"{fewest:,} waiting")
    return rows


def _rows(turns: Sequence[tuple[Seconds, Seconds]], waiting: str, against: str) -> Iterator[Row]:
    for name in turns[0][0]:
        for percent in (50, 99):
            ours, yardstick = (
                1000 * percentile([turn[name] for turn in column], percent)
                for column in zip(*turns, strict=True)
            )
            yield Row(f"{name} p{percent}, {waiting}", "ms", ours, against, yardstick)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all values stay below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
