"""What one worker process holds: settings, the record, the shelf, a way out to the network."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event

import requests

from broker.file_storage import Storage, storage
from broker.order_store import OrderStore
from broker.settings.config import Config, load
from worker.delivery.circuit_breaker import Circuits
from worker.http_session import session
from worker.process.cgroup_limits import granted_cores
from worker.slide_cache.cache import Shelf
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import Means


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything a leg works with."""

    config: Config
    store: OrderStore
    means: Means
    leaving: Event
    circuits: Circuits
    storage: Storage

    @property
    def shelf(self) -> Shelf:
        """The slides on this machine's disk."""
        return self.means.shelf

    @property
    def http(self) -> requests.Session:
        """The way out to the network."""
        return self.means.http

    @property
    def data(self) -> Path:
        """The folder for everything kept on this machine's disk."""
        return self.config.broker.data


@cache
def bench() -> Bench:
    """This process's bench."""
    config = load()
    slides, deliver = config.worker.slides, config.worker.deliver
    http = session(
        config.broker.allow_hosts,
        connect_timeout_s=deliver.connect_timeout_s,
        read_timeout_s=deliver.read_timeout_s,
    )
    return Bench(
        config=config,
        store=OrderStore.connect(config.broker),
        means=Means(
            Shelf(config.broker.data / "shelf", slides.max_bytes),
            http,
            Sandbox(
                config.worker.threads or granted_cores(),
                max_bytes=config.worker.limits.decode_bytes,
                read_s=config.worker.limits.decode_s,
            ),
            config.worker,
        ),
        leaving=Event(),
        circuits=Circuits(at_once=max(1, config.worker.courier_threads // 4)),
        storage=storage(config.broker),
    )
