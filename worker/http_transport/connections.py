"""Connections that go to allowed hosts only, directly or through a proxy.

A direct connection resolves its host once and connects to the address that was checked. A proxy
resolves the host itself, so that only the name can be checked.
"""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from threading import Event, Timer
from typing import Any, ClassVar, Final

from urllib3 import HTTPConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from broker.allowed_hosts import (
    host_and_port,
    is_allowed,
    is_allowed_by_name,
    is_listed,
    is_listed_by_name,
    not_encrypted,
    refusal,
)
from worker.http_transport.certificates import TrustedCertificates

_MAX_ADDRESSES: Final = 8
_DEFAULT_HEADERS_S: Final = 120.0
_PROXY_STATUS: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")


class ProxyRefusedError(NewConnectionError):
    """The proxy made no connection to the host; `status` is its answer, None where it gave none."""

    def __init__(self, connection: HTTPConnection, host: str, status: int | None) -> None:
        said = "did not answer"
        if status:
            said = f"answered {status}"
        super().__init__(connection, f"the proxy {said} when it was asked for {host}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Guard:
    """Which hosts may be connected to.

    With `encrypted_only`, a host that is not in `allow_hosts` is spoken to over TLS only.
    """

    allow_hosts: tuple[str, ...]
    encrypted_only: bool

    def permitted(
        self, host: str, addresses: list[str], port: int, *, is_encrypted: bool
    ) -> list[str]:
        """Return the addresses of the host that may be connected to.

        Raise `OrderError` where none may: `host_not_allowed` or `destination_not_encrypted`.
        """
        allowed = [
            address
            for address in addresses
            if is_allowed(host, ip_address(address), port, self.allow_hosts)
        ]
        if addresses and not allowed:
            raise refusal(host)
        if is_encrypted or not self.encrypted_only:
            return allowed
        listed = [
            address
            for address in allowed
            if is_listed(host, ip_address(address), port, self.allow_hosts)
        ]
        if allowed and not listed:
            raise not_encrypted(host)
        return listed

    def check_name(self, url: str) -> None:
        """Raise `OrderError` as `permitted` does for a URL that a proxy is asked for."""
        host, port = host_and_port(url)
        if not is_allowed_by_name(host, port, self.allow_hosts):
            raise refusal(host)
        if url.lower().startswith("https:") or not self.encrypted_only:
            return
        if not is_listed_by_name(host, port, self.allow_hosts):
            raise not_encrypted(host)


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


def _expire(cut: Callable[[], None], late: Event) -> None:
    late.set()
    with suppress(OSError, ValueError, RuntimeError):  # the connection has ended meanwhile
        cut()


class DirectPools(PoolManager):
    """Pools whose connections check the address of their host."""

    def __init__(self, guard: Guard, certificates: TrustedCertificates, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._guard = guard
        self._certificates = certificates

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        context = dict(request_context or self.connection_pool_kw)
        if scheme == "https":
            context["ssl_context"] = self._certificates.context
        pool = super()._new_pool(scheme, host, port, context)
        kind = _DirectTlsConnection if scheme == "https" else _DirectConnection
        guarded: Any = type(kind.__name__, (kind,), {"guard": self._guard})
        pool.ConnectionCls = guarded
        return pool


class ProxyPools(ProxyManager):
    """Pools whose connections go through a proxy, which the site has named."""

    def __init__(
        self, proxy: str, headers: dict[str, str], certificates: TrustedCertificates
    ) -> None:
        tls = certificates.context
        super().__init__(proxy, proxy_headers=headers, proxy_ssl_context=tls, ssl_context=tls)

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, request_context)
        kind: Any = _ProxyTlsConnection if scheme == "https" else _ProxyConnection
        pool.ConnectionCls = kind
        return pool


class _Connection(HTTPConnection):
    """A connection that limits how long the headers of an answer may take."""

    def getresponse(self) -> Any:
        """Return status and headers.

        They must arrive within twice the time that is allowed without a byte.
        """
        with self._deadline() as late:
            response = super().getresponse()
        if late.is_set():
            response.close()
            raise TimeoutError("the headers took too long")
        return response

    @contextmanager
    def _deadline(self) -> Iterator[Event]:
        sock = self.sock
        limit_s = _DEFAULT_HEADERS_S
        if isinstance(self.timeout, int | float):
            limit_s = 2 * self.timeout
        with cut_after(limit_s, lambda: sock.shutdown(socket.SHUT_RDWR)) as late:
            yield late


class _DirectConnection(_Connection):
    """A connection that resolves its host once and connects to the address that was checked."""

    guard: ClassVar[Guard]
    is_encrypted: ClassVar[bool] = False

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
        permitted = self.guard.permitted(
            self.host, addresses, self.port, is_encrypted=self.is_encrypted
        )
        return permitted[:_MAX_ADDRESSES]


class _DirectTlsConnection(_DirectConnection, HTTPSConnection):
    """The same over TLS.

    The certificate is checked against the host's name, not against the address.
    """

    is_encrypted: ClassVar[bool] = True


class _ProxyConnection(_Connection):
    """A connection through a proxy."""

    def _tunnel(self) -> None:
        """Ask the proxy for a connection to the host. Raise `ProxyRefusedError`."""
        host = str(self._tunnel_host)
        try:
            with self._deadline():
                super()._tunnel()
        except (OSError, HTTPException, ValueError) as error:
            found = _PROXY_STATUS.match(str(error))
            status = None
            if found:
                status = int(found[1])
            raise ProxyRefusedError(self, host, status) from None


class _ProxyTlsConnection(_ProxyConnection, HTTPSConnection):
    """The same over TLS from end to end."""
