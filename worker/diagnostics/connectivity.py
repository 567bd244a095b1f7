"""Whether the hosts answer that this bench will speak to: the settings' own, and those that somebody asks about.

Owns what is tried: one HEAD of `/`, without a credential, under the rules that hold for every order. Must not know what
is sent there later.
"""

import re
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NameResolutionError

from broker.allowed_hosts import check_literal
from broker.diagnostics import Row
from broker.errors import OrderError
from broker.settings.config import Config
from broker.settings.locator import HttpLocator
from worker.http_session import session

WHAT = "destination"
_HOLE = re.compile(r"\{\w+\}.*")


def reached(config: Config, asked: list[str]) -> Iterator[Row]:
    """A row for each host: those of `worker.locator`, then those in `asked`."""
    places = {
        _origin(url): where
        for where, url in [*_in_settings(config), *(("asked for", url) for url in asked)]
    }
    deliver = config.worker.deliver
    with session(
        config.broker.allow_hosts,
        connect_timeout_s=deliver.connect_timeout_s,
        read_timeout_s=deliver.read_timeout_s,
    ) as http:
        for origin, where in places.items():
            yield _row(origin, where, http, config.broker.allow_hosts)
    if not places:
        yield Row(
            WHAT, "absent", "the settings name none, orders do; try one with --destination URL"
        )


def _in_settings(config: Config) -> Iterator[tuple[str, str]]:
    locator = config.worker.locator
    if not isinstance(locator, HttpLocator):
        yield from config.worker.locator_addresses
        return
    yield "worker.locator.url", locator.url.get_secret_value()
    for name, value in locator.source.items():
        # a location that is answered whole may lead anywhere; one that is put into a URL leads to a host known now
        if isinstance(value, str) and urlsplit(_HOLE.sub("", value)).netloc:
            yield f"worker.locator.source.{name}", value


def _origin(url: str) -> str:
    """Scheme and host alone: paths and queries may hold what nobody else shall see. Empty for no web address."""
    parts = urlsplit(_HOLE.sub("", url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if parts.scheme in ("http", "https") and host else ""


def _row(origin: str, where: str, http: requests.Session, allow_hosts: tuple[str, ...]) -> Row:
    if not origin:
        return Row(WHAT, "failed", f"{where}: give the whole address, like https://ci.techcyte.com")
    said, began = f"{origin} ({where})", time.monotonic()
    try:
        check_literal(origin, allow_hosts, where)
        with http.head(f"{origin}/", allow_redirects=False) as answer:
            return Row(
                WHAT,
                "ok",
                f"{said} answers {answer.status_code} in {1000 * (time.monotonic() - began):.0f} ms",
            )
    except OrderError as error:
        return Row(WHAT, "failed", f"{said}: {error.detail}; {error.hint}")
    except (requests.RequestException, OSError) as error:
        return Row(WHAT, "failed", f"{said}: {_why(error)}")


def _why(error: Exception) -> str:
    cause = getattr(error.args[0], "reason", error) if error.args else error
    if isinstance(cause, NameResolutionError):
        return "its name has no address"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "it does not answer in time"
    return "no connection can be made, or it is cut"
