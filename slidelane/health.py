"""`slidelane health ROLE`: tells a container's health check whether a role works on this machine.

A worker or courier is healthy while it consumes its queues, the API and Flower while they answer.
"""

import argparse
import os
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.queue.names import is_on_this_machine
from broker.settings.config import Config, ConfigError, load
from slidelane.ports import flower_port

_WORKERS = {"courier": "courier", "worker": "gpu"}
ROLES = ("api", *_WORKERS, "flower")
_TIMEOUT_S = 5.0
# Where to ask a server that listens on all addresses.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


class UnhealthyError(Exception):
    """The role does not do its work; the message says how that was seen."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "health", help="whether a role does its work on this machine: status 0 or 1"
    )
    parser.add_argument("role", choices=ROLES)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    print(check(arguments.role, load()))
    return 0


def check(role: str, config: Config) -> str:
    """Return one sentence that says how health was seen. Raise `UnhealthyError`."""
    if role in _WORKERS:
        return _check_worker(_WORKERS[role], config)
    if role == "flower":
        return _check_http("127.0.0.1", flower_port(), "/healthcheck")
    host = config.services.host
    return _check_http(_LOOPBACK_OF.get(host, host), config.services.port, "/healthz")


def _check_http(host: str, port: int, path: str) -> str:
    if ":" in host:
        host = f"[{host}]"
    url = f"http://{host}:{port}{path}"
    # No proxy of the environment: it cannot reach loopback.
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            return f"{url} answers {answer.status}"
    except HTTPError as answer:
        if answer.code == HTTPStatus.UNAUTHORIZED:
            return f"{url} answers {answer.code}: it lives, and asks for its password"
        raise UnhealthyError(f"{url} answers {answer.code}") from None
    except (URLError, OSError) as error:
        raise UnhealthyError(f"{url} does not answer as it should: {error}") from None


def _check_worker(kind: str, config: Config) -> str:
    """A process may be alive and take nothing from its queues, so only its heartbeat counts."""
    machine = os.uname().nodename
    try:
        workers = OrderStore.connect(config.broker).workers()
    except (TemporaryError, ConfigError) as error:
        raise UnhealthyError(
            f"nobody can say whether the {kind} of {machine} consumes: {error}"
        ) from None
    for worker in workers:
        if is_on_this_machine(worker.name, kind):
            queues = ", ".join(worker.queues)
            return f"{worker.name} consumes {queues}; it said so {worker.seen_s_ago:.0f} s ago"
    raise UnhealthyError(f"no {kind} of {machine} has sent a heartbeat lately")
