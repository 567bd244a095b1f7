"""The HTTP session for slides and results, which connects to allowed hosts only.

Nothing that it logs or raises holds the query of a URL, which may be a key. It knows neither
sources nor destinations.
"""

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from threading import Event, Timer
from typing import Any, ClassVar, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util.connection import create_connection

from broker.allowed_hosts import is_allowed, refusal
from broker.errors import OrderError

RETRYABLE_STATUSES: Final = frozenset({408, 425, 429})
"""Statuses below 500 by which a server asks to come again later."""
READ_BYTES: Final = 2**18
_MAX_ADDRESSES: Final = 8
_MAX_REDIRECTS: Final = 5
_MAX_RETRY_AFTER_S: Final = 86400.0


def session(
    allow_hosts: Sequence[str], *, connect_timeout_s: float, read_timeout_s: float
) -> requests.Session:
    """Return a session that connects to allowed hosts only and ignores proxies, cookies and .netrc.

    For a host that is not allowed, also behind a redirect, it raises
    `OrderError("host_not_allowed")`.
    """
    # Below ERROR urllib3 logs whole URLs, with the signatures of presigned ones.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    http = _Session()
    http.trust_env = False
    http.max_redirects = _MAX_REDIRECTS
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    http.headers.update(
        {"User-Agent": f"slidelane/{product_version()}", "Accept-Encoding": "identity"}
    )
    adapter = _Adapter(tuple(allow_hosts), (connect_timeout_s, read_timeout_s))
    http.mount("http://", adapter)
    http.mount("https://", adapter)
    return http


def read_capped(response: requests.Response, limit_bytes: int, deadline_s: float) -> bytes:
    """Return the first `limit_bytes` of a streamed body, as far as they arrive in `deadline_s`."""
    body = bytearray()
    with cut_after(deadline_s, response.raw.shutdown), suppress(HTTPError, OSError):
        while len(body) < limit_bytes:
            data = response.raw.read1(READ_BYTES)
            if not data:
                break
            body += data
    return bytes(body[:limit_bytes])


def is_retryable(status: int) -> bool:
    """Return whether a request with this answer may succeed later."""
    return status in RETRYABLE_STATUSES or status >= 500


def retry_after_s(response: requests.Response) -> float | None:
    """Return the pause that the server asks for, at most a day; None where it names none.

    `Retry-After` holds seconds or a date (RFC 9110, 10.2.3).
    """
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return min(float(value[:9]), _MAX_RETRY_AFTER_S)
    with suppress(ValueError, OverflowError):
        when = parsedate_to_datetime(value)
        wait_s = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)
    return None


@contextmanager
def cut_after(seconds: float, cut: Callable[[], None]) -> Iterator[Event]:
    """Set the event and call `cut`, from another thread, when the block takes over `seconds`.

    A socket's own time limit starts again with every byte, so that a server which sends one byte at
    a time could occupy a thread for ever. Check the event after each read: to http.client a
    connection that was cut looks like one that ended well.
    """
    late = Event()
    timer = Timer(seconds, _expire, [cut, late])
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def cut_connection(response: requests.Response) -> None:
    """End the connection of an answer that another thread is reading."""
    with suppress(OSError, ValueError, RuntimeError):  # the connection has ended meanwhile
        response.raw.shutdown()


def _expire(cut: Callable[[], None], late: Event) -> None:
    late.set()
    with suppress(OSError, ValueError, RuntimeError):  # the connection has ended meanwhile
        cut()


def product_version() -> str:
    """Return the version of Slidelane that is installed, `0` where it runs from a checkout."""
    try:
        return version("slidelane")
    except PackageNotFoundError:  # run from a checkout
        return "0"


class _Session(requests.Session):
    def get_adapter(self, url: str | bytes) -> Any:
        """Return the adapter for http and https.

        Raise `OrderError` for another scheme, also of a redirect.
        """
        scheme = str(url).partition(":")[0].lower()
        if scheme not in ("http", "https"):
            raise OrderError(
                "host_not_allowed",
                f"only http and https are spoken, and a URL says {scheme[:16]!r}",
            )
        return super().get_adapter(url)  # type: ignore[arg-type]


class _Adapter(HTTPAdapter):
    def __init__(self, allow_hosts: tuple[str, ...], timeout_s: tuple[float, float]) -> None:
        self._allow_hosts = allow_hosts
        self._timeout_s = timeout_s
        super().__init__(max_retries=0)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - the signature of the base class
        **kwargs: Any,
    ) -> None:
        """Create pools whose connections check their address."""
        self.poolmanager = _Pools(
            self._allow_hosts, num_pools=connections, maxsize=maxsize, block=block, **kwargs
        )

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send with the default time limits. The body of a redirect is not read."""
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout_s
        response = super().send(request, *args, **kwargs)
        if response.is_redirect:
            response.raw.close()
        return response


class _Pools(PoolManager):
    def __init__(self, allow_hosts: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._allow_hosts = allow_hosts

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, request_context)
        kind = _TlsConnection if scheme == "https" else _Connection
        guarded: Any = type(kind.__name__, (kind,), {"allow_hosts": self._allow_hosts})
        pool.ConnectionCls = guarded
        return pool


class _Connection(HTTPConnection):
    """A connection that resolves its host once and connects to the address that was checked."""

    allow_hosts: ClassVar[tuple[str, ...]] = ()

    def _new_conn(self) -> socket.socket:
        fault = OSError("the name has no address")
        for address in self._addresses():
            try:
                return create_connection(
                    (address, self.port), self.timeout, socket_options=self.socket_options
                )
            except OSError as error:
                fault = error
        if isinstance(fault, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host} did not answer in time") from fault
        raise NewConnectionError(self, f"cannot connect to {self.host}: {fault}") from fault

    def _addresses(self) -> list[str]:
        try:
            found = socket.getaddrinfo(
                self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM
            )
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        addresses = [str(entry[4][0]) for entry in found]
        permitted = [
            address
            for address in addresses
            if is_allowed(self.host, ip_address(address), self.allow_hosts)
        ]
        if addresses and not permitted:
            raise refusal(self.host)
        return permitted[:_MAX_ADDRESSES]

    def getresponse(self) -> Any:
        """Return status and headers.

        They must arrive within twice the time that is allowed without a byte.
        """
        sock = self.sock
        limit_s = 120.0
        if isinstance(self.timeout, int | float):
            limit_s = 2 * self.timeout
        with cut_after(limit_s, lambda: sock.shutdown(socket.SHUT_RDWR)) as late:
            response = super().getresponse()
        if late.is_set():
            response.close()
            raise TimeoutError("the headers took too long")
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS.

    The certificate is checked against the host's name, not against the address.
    """
