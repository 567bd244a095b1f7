"""Check that the hosts answer which a worker contacts: those in the settings, and given ones.

Each host gets one HEAD of `/` without credentials, under the rules that hold for every order.
"""

import re
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NameResolutionError

from broker.allowed_hosts import check_literal
from broker.diagnostics import Row
from broker.errors import OrderError
from broker.settings.config import Config
from broker.settings.locator import HttpLocator
from broker.settings.services.destinations import destination_addresses
from worker.http_session import connection_fault, session

WHAT = "destination"
_PLACEHOLDER = re.compile(r"\{\w+\}.*")
"""A placeholder of a URL template and all that follows it."""


def check_hosts(config: Config, urls: Sequence[str]) -> Iterator[Row]:
    """Yield a row for each host of `services.destinations`, `worker.locator` and `urls`."""
    named_by = {_origin(url): name for name, url in _urls_of_destinations(config)}
    named_by |= {_origin(url): name for name, url in _urls_of_locator(config)}
    for url in urls:
        named_by[_origin(url)] = "asked for"
    if not named_by:
        yield Row(
            WHAT, "absent", "the settings name none, orders do; try one with --destination URL"
        )
        return
    deliver = config.worker.deliver
    with session(
        config.broker.allow_hosts,
        connect_timeout_s=deliver.connect_timeout_s,
        read_timeout_s=deliver.read_timeout_s,
        http=config.worker.http,
    ) as http:
        for origin, name in named_by.items():
            yield _check_host(origin, name, http, config.broker.allow_hosts)


def _urls_of_destinations(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the key of the address of each named destination, and its URL."""
    for key, address in destination_addresses(config.services.destinations):
        url = address
        if "://" not in address:
            url = f"https://api.{address}"  # as Techcyte names the host of its API
        yield key, url


def _urls_of_locator(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting of the locator that holds a URL, and the URL."""
    locator = config.worker.locator
    if not isinstance(locator, HttpLocator):
        yield from config.worker.locator_addresses
        return
    yield "worker.locator.url", locator.url.get_secret_value()
    for name, value in locator.source.items():
        # A template that is a placeholder as a whole may lead to any host; one that has its host
        # before the placeholder leads to a host that is known now.
        if isinstance(value, str) and urlsplit(_without_placeholders(value)).netloc:
            yield f"worker.locator.source.{name}", value


def _without_placeholders(url: str) -> str:
    return _PLACEHOLDER.sub("", url)


def _origin(url: str) -> str:
    """Return scheme and host only, since path and query may be secret; empty for no web address."""
    parts = urlsplit(_without_placeholders(url))
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme not in ("http", "https") or not host:
        return ""
    return f"{parts.scheme}://{host}"


def _check_host(
    origin: str, name: str, http: requests.Session, allow_hosts: tuple[str, ...]
) -> Row:
    if not origin:
        return Row(WHAT, "failed", f"{name}: give the whole address, like https://ci.techcyte.com")
    shown = f"{origin} ({name})"
    began_at = time.monotonic()
    try:
        check_literal(origin, allow_hosts, name)
        with http.head(f"{origin}/", allow_redirects=False) as response:
            took_ms = 1000 * (time.monotonic() - began_at)
            return Row(WHAT, "ok", f"{shown} answers {response.status_code} in {took_ms:.0f} ms")
    except OrderError as error:
        return Row(WHAT, "failed", f"{shown}: {error.detail}; {error.hint}")
    except (requests.RequestException, OSError) as error:
        return Row(WHAT, "failed", f"{shown}: {_reason(error)}")


def _reason(error: Exception) -> str:
    cause: object = error
    if error.args:
        cause = getattr(error.args[0], "reason", error)
    if isinstance(cause, NameResolutionError):
        return "its name has no address"
    fault = connection_fault(error, "the host")
    if fault:
        return f"{fault.detail}; {fault.hint}"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "it does not answer in time"
    return "no connection can be made, or it is cut"
