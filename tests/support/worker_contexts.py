"""The parts of a worker process, for tests that run stages, deliveries and the cleanup themselves."""

from threading import Event

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.settings.config import Config
from worker.context import WorkerContext
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.deliver_order import Deliverer
from worker.http_session import session
from worker.slide_cache.cache import FOLDER, SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher


def a_worker_context(
    config: Config, store: OrderStore, *, read_timeout_s: float = 1
) -> WorkerContext:
    """Return what `worker.context.worker_context` builds, with one thread and this store."""
    worker = config.worker
    http = session(config.broker.allow_hosts, connect_timeout_s=1, read_timeout_s=read_timeout_s)
    deliveries = session(
        config.broker.allow_hosts,
        connect_timeout_s=1,
        read_timeout_s=read_timeout_s,
        encrypted_only=True,
    )
    slide_cache = SlideCache(config.broker.data / FOLDER, worker.slides.max_bytes)
    sandbox = Sandbox(threads=1)
    storage = open_storage(config.broker)
    breakers = CircuitBreakers(max_concurrent=2)
    return WorkerContext(
        config=config,
        store=store,
        storage=storage,
        slide_cache=slide_cache,
        sandbox=sandbox,
        slide_fetcher=SlideFetcher(slide_cache, http, sandbox, worker),
        deliverer=Deliverer(store, storage, deliveries, breakers, worker.deliver),
        leaving=Event(),
    )
