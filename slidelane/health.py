"""`slidelane health ROLE`: whether one role does its work on this machine, for whatever watches over containers.

Owns what healthy means for each role: a worker consumes, an API and a Flower answer. Must not know orders.
"""

import argparse
import os
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.settings.config import Config, ConfigError, load
from slidelane.ports import flower_port

_WORKERS = {"courier": "courier", "worker": "gpu"}
ROLES = ("api", *_WORKERS, "flower")
_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to ask where somebody listens on all


class UnhealthyError(Exception):
    """The role does not do its work; the message says how that was seen."""


def add_to(commands: Any) -> None:
    """Its place on the command line."""
    parser = commands.add_parser(
        "health", help="whether a role does its work on this machine: status 0 or 1"
    )
    parser.add_argument("role", choices=ROLES)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    print(check(given.role, load()))
    return 0


def check(role: str, config: Config) -> str:
    """One sentence that says how health was seen. Raises `UnhealthyError`."""
    if role in _WORKERS:
        return _consumes(_WORKERS[role], config)
    if role == "flower":
        return _answers("127.0.0.1", flower_port(), "/healthcheck")
    host = config.services.host
    return _answers(_EVERYWHERE.get(host, host), config.services.port, "/healthz")


def _answers(host: str, port: int, path: str) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT_S) as answer:
            return f"{url} answers {answer.status}"
    except (URLError, OSError) as error:
        raise UnhealthyError(f"{url} does not answer as it should: {error}") from None


def _consumes(kind: str, config: Config) -> str:
    """A process that lives, and takes nothing from its queues, is of no use: only what it tells the record counts."""
    machine = os.uname().nodename
    try:
        present = OrderStore.connect(config.broker).workers()
    except (TemporaryError, ConfigError) as error:
        raise UnhealthyError(
            f"nobody can say whether the {kind} of {machine} consumes: {error}"
        ) from None
    for worker in present:
        if worker.name.startswith(f"{kind}-") and worker.name.endswith(f"@{machine}"):
            return f"{worker.name} consumes {', '.join(worker.queues)}; it said so {worker.seen_s_ago:.0f} s ago"
    raise UnhealthyError(f"no {kind} of {machine} has said of late that it consumes")
