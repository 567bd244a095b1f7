"""What one worker process holds: settings, the record, the shelf, a way out to the network."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event

import requests

from broker.file_storage import open_storage
from broker.file_storage.interface import Storage
from broker.order_store import OrderStore
from broker.settings.config import Config, load
from worker.delivery.circuit_breaker import CircuitBreakers
from worker.http_session import session
from worker.process.cgroup_limits import granted_cores
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Everything a stage works with."""

    config: Config
    store: OrderStore
    means: FetchTools
    leaving: Event
    circuits: CircuitBreakers
    storage: Storage

    @property
    def shelf(self) -> SlideCache:
        """The slides on this machine's disk."""
        return self.means.slide_cache

    @property
    def http(self) -> requests.Session:
        """The way out to the network."""
        return self.means.http

    @property
    def data(self) -> Path:
        """The folder for everything kept on this machine's disk."""
        return self.config.broker.data


@cache
def worker_context() -> WorkerContext:
    """This process's bench."""
    config = load()
    slides, deliver = config.worker.slides, config.worker.deliver
    http = session(
        config.broker.allow_hosts,
        connect_timeout_s=deliver.connect_timeout_s,
        read_timeout_s=deliver.read_timeout_s,
    )
    return WorkerContext(
        config=config,
        store=OrderStore.connect(config.broker),
        means=FetchTools(
            SlideCache(config.broker.data / "shelf", slides.max_bytes),
            http,
            Sandbox(
                config.worker.threads or granted_cores(),
                max_bytes=config.worker.limits.decode_bytes,
                read_s=config.worker.limits.decode_s,
            ),
            config.worker,
        ),
        leaving=Event(),
        circuits=CircuitBreakers(at_once=max(1, config.worker.courier_threads // 4)),
        storage=open_storage(config.broker),
    )
