"""`slidelane health ROLE`: tells a container's health check whether a role works on this machine.

A worker or courier is healthy while it consumes its queues, the API, Flower and the viewer while
they answer.
"""

import argparse
import os
from http import HTTPStatus
from typing import Any

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.queue.names import is_on_this_machine
from broker.settings.config import Config, ConfigError, load
from slidelane.http_probe import NoAnswerError, base_url, get
from slidelane.ports import FLOWER_HOST, flower_port
from slidelane.viewer_probe import ask_viewer

_WORKERS = {"courier": "courier", "worker": "gpu"}
ROLES = ("api", *_WORKERS, "flower", "viewer")


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
    if role == "viewer":
        return _check_viewer(config)
    if role == "flower":
        url = f"{base_url(FLOWER_HOST, flower_port())}/healthcheck"
        return _check_http(url, may_ask_for_login=True)
    services = config.services
    return _check_http(f"{base_url(services.host, services.port)}/healthz")


def _check_http(url: str, *, may_ask_for_login: bool = False) -> str:
    try:
        status, _ = get(url)
    except NoAnswerError as error:
        raise UnhealthyError(str(error)) from None
    is_well = status == HTTPStatus.OK
    if may_ask_for_login and status == HTTPStatus.UNAUTHORIZED:
        is_well = True
    if not is_well:
        raise UnhealthyError(f"{url} does not answer as it should: {status}")
    return f"{url} answers {status}"


def _check_viewer(config: Config) -> str:
    try:
        return ask_viewer(config)
    except NoAnswerError as error:
        raise UnhealthyError(str(error)) from None


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
