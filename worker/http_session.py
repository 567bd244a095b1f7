"""HTTP as the bench speaks it: only to allowed hosts, within time and size, and without leaving traces of a URL.

Owns the guarded session for slides and results alike. Must not know what is fetched or delivered.
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
from typing import Any, ClassVar

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

from broker.allowed_hosts import allowed, refusal
from broker.errors import OrderError

_MAX_ADDRESSES = 8
_MAX_REDIRECTS = 5
_MAX_RETRY_AFTER_S = 86400.0
_READ_BYTES = 2**18


def session(
    allow_hosts: Sequence[str], *, connect_timeout_s: float, read_timeout_s: float
) -> requests.Session:
    """A session that connects to allowed hosts only and reads no proxy, cookie or password from its surroundings.

    A host that is not allowed, also behind a redirect, raises `OrderError("host_not_allowed")`.
    """
    logging.getLogger("urllib3").setLevel(
        logging.ERROR
    )  # below that it logs whole URLs, presigned query and all
    http = _Session()
    http.trust_env = False
    http.max_redirects = _MAX_REDIRECTS
    http.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    http.headers.update({"User-Agent": f"slidelane/{_version()}", "Accept-Encoding": "identity"})
    adapter = _Adapter(tuple(allow_hosts), (connect_timeout_s, read_timeout_s))
    http.mount("http://", adapter)
    http.mount("https://", adapter)
    return http


def read_capped(response: requests.Response, limit_bytes: int, deadline_s: float) -> bytes:
    """At most the first `limit_bytes` of a streamed body, as far as they come within `deadline_s`."""
    body = bytearray()
    with cut_after(deadline_s, response.raw.shutdown), suppress(HTTPError, OSError):
        while len(body) < limit_bytes and (data := read_some(response)):
            body += data
    return bytes(body[:limit_bytes])


def read_some(response: requests.Response) -> bytes:
    """What has come of a streamed body, still encoded; waits for the first byte only. Empty at the end."""
    data: bytes = response.raw.read1(_READ_BYTES)
    return data


def retry_after_s(response: requests.Response) -> float | None:
    """The wait the server asks for (RFC 9110 10.2.3: seconds or a date), at most a day; None if it does not say."""
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
    """Have another thread `cut` a connection, and set the event, when the block takes longer than `seconds`.

    A socket's own time limit starts again with every byte, so a server that drips could hold a thread for ever. Ask the
    event: to http.client a connection that was cut looks like one that ended well.
    """
    late = Event()
    timer = Timer(seconds, _end, [cut, late])
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _end(cut: Callable[[], None], late: Event) -> None:
    late.set()
    with suppress(
        OSError, ValueError, RuntimeError
    ):  # the connection ended by itself in the meantime
        cut()


def _version() -> str:
    try:
        return version("slidelane")
    except PackageNotFoundError:  # run from a checkout
        return "0"


class _Session(requests.Session):
    def get_adapter(self, url: str | bytes) -> Any:
        """The adapter for http(s); anything else, say a redirect to file://, is refused."""
        scheme = str(url).partition(":")[0].lower()
        if scheme not in ("http", "https"):
            raise OrderError(
                "host_not_allowed",
                f"only http and https are spoken, and a URL says {scheme[:16]!r}",
            )
        return super().get_adapter(url)  # type: ignore[arg-type]


class _Adapter(HTTPAdapter):
    def __init__(self, allow_hosts: tuple[str, ...], timeout_s: tuple[float, float]) -> None:
        self._allow_hosts, self._timeout_s = allow_hosts, timeout_s
        super().__init__(max_retries=0)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - the signature of the base class
        **kwargs: Any,
    ) -> None:
        """Pools whose connections are guarded."""
        self.poolmanager = _Pools(
            self._allow_hosts, num_pools=connections, maxsize=maxsize, block=block, **kwargs
        )

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send with the default time limits; the body of a redirect is dropped, not read."""
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
    """Resolves its host once and connects to an address that was checked: no second answer of DNS can differ."""

    allow_hosts: ClassVar[tuple[str, ...]] = ()

    def _new_conn(self) -> socket.socket:
        fault: OSError = OSError("the name has no address")
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
        addresses = [str(place[4][0]) for place in found]
        fit = [a for a in addresses if allowed(self.host, ip_address(a), self.allow_hosts)]
        if addresses and not fit:
            raise refusal(self.host)
        return fit[:_MAX_ADDRESSES]

    def getresponse(self) -> Any:
        """The reply's status and headers, which must all be here within twice the time allowed for one silence."""
        sock = self.sock
        limit_s = 2 * self.timeout if isinstance(self.timeout, int | float) else 120.0
        with cut_after(limit_s, lambda: sock.shutdown(socket.SHUT_RDWR)) as late:
            response = super().getresponse()
        if late.is_set():
            response.close()
            raise TimeoutError("the headers took too long")
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS; name and certificate are still those of the host, not of the address."""
