"""The HTTP session for slides and results, which connects to allowed hosts only.

Nothing that it logs or raises holds the query of a URL, which may be a key, or the login of a
proxy. It knows neither sources nor destinations.
"""

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, MaxRetryError, ProxyError

from broker.errors import OrderError
from broker.settings.worker import HttpSettings
from worker.http_transport.certificates import HINT, TrustedCertificates
from worker.http_transport.connections import (
    DirectPools,
    Guard,
    ProxyPools,
    ProxyRefusedError,
    cut_after,
)
from worker.http_transport.proxies import Proxies

_PROXY_LOGIN_NEEDED: Final = 407
RETRYABLE_STATUSES: Final = frozenset({_PROXY_LOGIN_NEEDED, 408, 425, 429})
"""Statuses below 500 after which the same request may succeed: the server asks to come again later,
or a proxy wants a login, which the operator can give it."""
READ_BYTES: Final = 2**18
_PROXY_HINT: Final = "worker.http.proxy or HTTPS_PROXY names the proxy and its login"
_MAX_REDIRECTS: Final = 5
_MAX_RETRY_AFTER_S: Final = 86400.0


def session(
    allow_hosts: Sequence[str],
    *,
    connect_timeout_s: float,
    read_timeout_s: float,
    http: HttpSettings | None = None,
    encrypted_only: bool = False,
) -> requests.Session:
    """Return a session that connects to allowed hosts only and ignores cookies and .netrc.

    For a host that is not allowed, also behind a redirect, it raises
    `OrderError("host_not_allowed")`; with `encrypted_only`, for a public host behind `http://`
    `OrderError("destination_not_encrypted")`. `http` names authorities and a proxy of the site,
    beside those of the environment. Raise `ConfigError` where one of them cannot be used.
    """
    # Below ERROR urllib3 logs whole URLs, with the signatures of presigned ones.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    settings = http or HttpSettings()
    created = _Session()
    created.trust_env = False
    created.max_redirects = _MAX_REDIRECTS
    created.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    created.headers.update(
        {"User-Agent": f"slidelane/{product_version()}", "Accept-Encoding": "identity"}
    )
    adapter = _Adapter(
        Guard(tuple(allow_hosts), encrypted_only),
        Proxies.from_settings(settings.proxy),
        TrustedCertificates(settings.ca_file),
        (connect_timeout_s, read_timeout_s),
    )
    created.mount("http://", adapter)
    created.mount("https://", adapter)
    return created


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an answer as far as it was read.

    `is_complete` is False where more was to come: it was too long, too slow, or cut off.
    """

    content: bytes
    is_complete: bool


def read_capped(response: requests.Response, limit_bytes: int, deadline_s: float) -> bytes:
    """Return the first `limit_bytes` of a streamed body, as far as they arrive in `deadline_s`."""
    return read_body(response, limit_bytes, deadline_s).content


def read_body(response: requests.Response, limit_bytes: int, deadline_s: float) -> Body:
    """Return a streamed body, at most `limit_bytes` of it, as far as it arrives in `deadline_s`."""
    body = bytearray()
    has_ended = False
    with cut_after(deadline_s, response.raw.shutdown) as late, suppress(HTTPError, OSError):
        while len(body) <= limit_bytes and not has_ended:
            data = response.raw.read1(READ_BYTES)
            has_ended = not data
            body += data
    is_complete = has_ended and not late.is_set()
    return Body(bytes(body[:limit_bytes]), is_complete)


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


def cut_connection(response: requests.Response) -> None:
    """End the connection of an answer that another thread is reading."""
    with suppress(OSError, ValueError, RuntimeError):  # the connection has ended meanwhile
        response.raw.shutdown()


@cache
def product_version() -> str:
    """Return the version of Slidelane that is installed, `0` where it runs from a checkout.

    Every result states it, and to find it takes 2 ms.
    """
    try:
        return version("slidelane")
    except PackageNotFoundError:  # run from a checkout
        return "0"


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """Why there is no connection to a host, and what to do about it. Neither holds a secret."""

    detail: str
    hint: str


def connection_fault(error: Exception, host: str) -> ConnectionFault | None:
    """Return the fault of a certificate or a proxy that a request ended with; None for any other.

    The text of `error` is not used: it may hold a URL with its query, or the login of a proxy.
    """
    asked = host
    for cause in causes_of(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = cause.verify_message or "it cannot be verified"
            detail = f"{asked} has a certificate that is not trusted ({said})"
            return ConnectionFault(detail, HINT)
        if isinstance(cause, ProxyRefusedError):
            return ConnectionFault(_refused_by_proxy(cause, host), _PROXY_HINT)
        if isinstance(cause, ProxyError):
            asked = f"the proxy to {host}"
    if asked == host:
        return None
    return ConnectionFault(f"{asked} cannot be reached", _PROXY_HINT)


def _refused_by_proxy(error: ProxyRefusedError, host: str) -> str:
    if error.status is None:
        return f"the proxy did not answer when it was asked for {host}"
    return f"the proxy answered {error.status} when it was asked for {host}"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those that requests and urllib3 wrapped in it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = _cause(cause)


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return error.reason
    if isinstance(error, ProxyError):
        return error.original_error
    for argument in error.args:
        if isinstance(argument, BaseException):
            return argument
    return None


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
    def __init__(
        self,
        guard: Guard,
        proxies: Proxies,
        certificates: TrustedCertificates,
        timeout_s: tuple[float, float],
    ) -> None:
        self._guard = guard
        self._proxies = proxies
        self._certificates = certificates
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
        self.poolmanager = DirectPools(
            self._guard,
            self._certificates,
            num_pools=connections,
            maxsize=maxsize,
            block=block,
            **kwargs,
        )

    def proxy_manager_for(self, proxy: str, **_: Any) -> Any:
        """Return the pools of connections through this proxy."""
        if proxy not in self.proxy_manager:
            self.proxy_manager[proxy] = ProxyPools(
                proxy, self.proxy_headers(proxy), self._certificates
            )
        return self.proxy_manager[proxy]

    def cert_verify(self, *_: Any) -> None:
        """Do nothing: the TLS context of the pools verifies, and holds all that is trusted."""

    def build_connection_pool_key_attributes(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ARG002 - the signature of the base class
        cert: Any = None,
    ) -> Any:
        """Return the base class' keys; no request has certificates of its own."""
        return super().build_connection_pool_key_attributes(request, verify=True, cert=cert)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Send with the default time limits. The body of a redirect is not read."""
        kwargs["timeout"] = kwargs.get("timeout") or self._timeout_s
        url = str(request.url)
        proxy = self._proxies.for_url(url)
        kwargs["proxies"] = {}
        if proxy:
            self._guard.check_name(url)
            kwargs["proxies"] = {"http": proxy, "https": proxy}
        response = super().send(request, *args, **kwargs)
        if response.is_redirect:
            response.raw.close()
        return response
