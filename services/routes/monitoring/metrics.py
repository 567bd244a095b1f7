"""Serves `/metrics` in Prometheus' text format, read from the store at each request."""

from collections.abc import Iterator

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from services.dependencies import Store, may_read
from services.routes.monitoring.queues import all_queues

router = APIRouter(tags=["health"], dependencies=[Depends(may_read)])


class StoreCollector(Collector):
    """The numbers of the store as metrics.

    While Redis does not answer, `slidelane_up` is 0 and the only one.
    """

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as the store has them now."""
        try:
            metrics = self._read()
        except TemporaryError:
            metrics = []
        yield GaugeMetricFamily("slidelane_up", "1 when Redis answers", value=bool(metrics))
        yield from metrics

    def _read(self) -> list[Metric]:
        counts = self._store.counts()
        queues = all_queues(self._store)
        orders = GaugeMetricFamily("slidelane_orders", "Orders by state", labels=["state"])
        for state, count in counts.items():
            orders.add_metric([state], count)
        waiting = GaugeMetricFamily("slidelane_queue_waiting", "Work that waits", labels=["queue"])
        running = GaugeMetricFamily(
            "slidelane_queue_running", "Work that is done now", labels=["queue"]
        )
        oldest_wait = GaugeMetricFamily(
            "slidelane_queue_oldest_wait_seconds",
            "How long the oldest waiting work has waited",
            labels=["queue"],
        )
        for queue in queues:
            waiting.add_metric([queue.name], queue.waiting)
            running.add_metric([queue.name], queue.running)
            oldest_wait.add_metric([queue.name], queue.oldest_wait_s)
        workers = GaugeMetricFamily(
            "slidelane_workers", "Workers that consume", value=len(self._store.workers())
        )
        return [orders, waiting, running, oldest_wait, workers, *self._algorithms()]

    def _algorithms(self) -> list[Metric]:
        available = GaugeMetricFamily(
            "slidelane_algorithm_available",
            "1 when orders for the algorithm are accepted",
            labels=["algorithm"],
        )
        reasons = GaugeMetricFamily(
            "slidelane_algorithm_unavailable_info",
            "Why no worker can run the algorithm",
            labels=["algorithm", "reason"],
        )
        for known in self._store.algorithms():
            available.add_metric([known.name], not known.reason)
            if known.reason:
                reasons.add_metric([known.name, known.reason], 1)
        return [available, reasons]


@router.get("/metrics", response_class=Response)
def metrics(store: Store) -> Response:
    """Orders by state, queues and workers, for Prometheus."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
