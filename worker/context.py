"""Build the parts that one worker process works with, from its settings."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event

import requests

from broker.data_folder import make_private
from broker.file_storage import open_storage
from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.settings.config import Config, WorkerSettings, load
from broker.uploads import Uploads
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.delivery.deliver_order import Deliverer
from worker.delivery.notices import Notifier
from worker.http_session import session
from worker.process.cgroup_limits import granted_cores
from worker.slide_cache.cache import FOLDER, SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The parts of one worker process. `leaving` is set when the process is to end."""

    config: Config
    store: OrderStore
    storage: Storage
    slide_cache: SlideCache
    uploads: Uploads
    sandbox: Sandbox
    slide_fetcher: SlideFetcher
    deliverer: Deliverer
    notifier: Notifier
    leaving: Event

    @property
    def data(self) -> Path:
        """Return the folder for everything that is stored on this machine's disk."""
        return self.config.broker.data


@cache
def worker_context() -> WorkerContext:
    """Return this process's context, built from the settings at the first call."""
    config = load()
    make_private(config.broker.data)
    return build_context(config, OrderStore.connect(config.broker))


def build_context(config: Config, store: OrderStore) -> WorkerContext:
    """Return the parts of a worker with these settings and this store."""
    worker = config.worker
    storage = open_storage(config.broker)
    slides = _session(config, encrypted_only=False)
    deliveries = _session(config, encrypted_only=True)
    slide_cache = SlideCache(config.broker.data / FOLDER, worker.slides.max_bytes)
    uploads = Uploads(config.broker.uploads_folder)
    sandbox = create_sandbox(worker)
    breakers = CircuitBreakers(max_concurrent=max(1, worker.courier_threads // 4))
    return WorkerContext(
        config=config,
        store=store,
        storage=storage,
        slide_cache=slide_cache,
        uploads=uploads,
        sandbox=sandbox,
        slide_fetcher=SlideFetcher(slide_cache, slides, sandbox, worker, uploads),
        deliverer=Deliverer(store, storage, deliveries, breakers, worker.deliver),
        notifier=Notifier(store, deliveries, breakers, worker.deliver),
        leaving=Event(),
    )


def _session(config: Config, *, encrypted_only: bool) -> requests.Session:
    deliver = config.worker.deliver
    return session(
        config.broker.allow_hosts,
        connect_timeout_s=deliver.connect_timeout_s,
        read_timeout_s=deliver.read_timeout_s,
        http=config.worker.http,
        encrypted_only=encrypted_only,
    )


def create_sandbox(settings: WorkerSettings) -> Sandbox:
    """Return what opens slides within the limits of these settings."""
    return Sandbox(
        settings.threads or granted_cores(),
        max_bytes=settings.limits.decode_bytes,
        read_s=settings.limits.decode_s,
    )
