"""`/metrics` in Prometheus' text format, read from the store when it is asked for."""

from collections.abc import Iterator

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from services.auth import Gate


class StoreCollector(Collector):
    """The store's numbers as metrics. `slidelane_up` is 0, and alone, when Redis does not answer."""

    def __init__(self, store: OrderStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """One reading of the store."""
        try:
            metrics = self._read()
        except TemporaryError:
            metrics = []
        yield GaugeMetricFamily("slidelane_up", "1 when Redis answers", value=bool(metrics))
        yield from metrics

    def _read(self) -> list[Metric]:
        counts, queues = self._store.counts(), self._store.queues()
        return [
            _labelled("slidelane_orders", "Orders by state", "state", counts),
            _labelled(
                "slidelane_queue_waiting",
                "Work that waits",
                "queue",
                {q.name: q.waiting for q in queues},
            ),
            _labelled(
                "slidelane_queue_running",
                "Work that is done now",
                "queue",
                {q.name: q.running for q in queues},
            ),
            _labelled(
                "slidelane_queue_oldest_wait_seconds",
                "How long the oldest waiting work has waited",
                "queue",
                {q.name: q.oldest_wait_s for q in queues},
            ),
            GaugeMetricFamily(
                "slidelane_workers", "Workers that consume", value=len(self._store.workers())
            ),
        ]


def _labelled(
    name: str, about: str, label: str, values: dict[str, int] | dict[str, float]
) -> Metric:
    family = GaugeMetricFamily(name, about, labels=[label])
    for value_of, value in values.items():
        family.add_metric([value_of], value)
    return family


def routes(store: OrderStore, gate: Gate) -> APIRouter:
    """`/metrics`."""
    router = APIRouter(tags=["health"], dependencies=[Depends(gate.read)])

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Orders by state, queues and workers, for Prometheus."""
        registry = CollectorRegistry()
        registry.register(StoreCollector(store))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
