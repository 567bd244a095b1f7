"""What one worker process holds: settings, the record, the shelf, a way out to the network."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event

import requests

from broker.config import Config, load
from broker.store import OrderStore
from worker.deliver.circuit import Circuits
from worker.http import session
from worker.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything a leg works with."""

    config: Config
    store: OrderStore
    shelf: Shelf
    http: requests.Session
    leaving: Event
    circuits: Circuits

    @property
    def data(self) -> Path:
        """The folder for everything kept on disk."""
        return self.config.broker.data


@cache
def bench() -> Bench:
    """This process's bench."""
    config = load()
    slides, deliver = config.worker.slides, config.worker.deliver
    return Bench(
        config=config,
        store=OrderStore.connect(config.broker),
        shelf=Shelf(config.broker.data / "shelf", slides.max_bytes),
        http=session(
            config.broker.allow_hosts,
            connect_timeout_s=deliver.connect_timeout_s,
            read_timeout_s=deliver.read_timeout_s,
        ),
        leaving=Event(),
        circuits=Circuits(at_once=max(1, config.worker.courier_threads // 4)),
    )
