"""Refuses requests that another web page made a browser send.

Browsers add `Origin` and `Sec-Fetch-Site`, and no script can change them. Programs send neither.
"""

from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import Problem
from broker.settings.config import LOOPBACK
from services import secret_paths
from services.requests.hosts import host_and_port
from services.responses import problems
from services.session import cookie

READING = frozenset({"GET", "HEAD"})
OWN_SITE = frozenset({"same-origin", "none"})
"""`none`: the person typed the address, and no page was involved."""
_HINT: Final[Mapping[bool, str]] = {
    True: "send it from a program, or from a page of this service at its own address; "
    "a proxy in front must pass the Host on",
    False: "send it from a program, from a page of this API, or configure services.keys",
}
"""What to do next, by whether callers need a key."""


class OriginCheck:
    """Middleware that answers 403 `foreign_origin` before anything else is looked at.

    Reading is let through: without `Access-Control-Allow-Origin` a page cannot see the answer. So
    is an address that holds a secret.
    """

    def __init__(self, app: ASGIApp, *, needs_key: bool) -> None:
        self._app = app
        self._needs_key = needs_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        if secret_paths.is_secret(scope["path"]):
            # A web page does not know the secret, and needs no more than that.
            await self._app(scope, receive, send)
            return
        why = self._why_foreign(Headers(scope=scope))
        if not why:
            await self._app(scope, receive, send)
            return
        problem = Problem(
            "foreign_origin",
            f"only programs and the service's own pages change anything; {why}",
            _HINT[self._needs_key],
            blame="input",
        )
        await problems.answer(problem, scope["path"])(scope, receive, send)

    def _why_foreign(self, headers: Headers) -> str:
        """Return why the request is refused, or nothing."""
        why = _foreign_site(headers)
        if not why and self._needs_key:
            why = _foreign_page(headers)
        elif not why:
            why = foreign_origin(headers)
        if why or not cookie.is_given(headers):
            return why
        if "origin" in headers or "sec-fetch-site" in headers:
            return ""
        return "with the cookie of a session a browser says Origin or Sec-Fetch-Site"


def foreign_origin(headers: Headers) -> str:
    """Return why the request comes from another page than one of this machine, or nothing."""
    why = _foreign_site(headers)
    if why:
        return why
    own = _loopback_origin(f"http://{headers.get('host', '')}")
    for origin in headers.getlist("origin"):
        if own is None or _loopback_origin(origin) != own:
            return _named(origin)
    return ""


def _foreign_site(headers: Headers) -> str:
    for site in headers.getlist("sec-fetch-site"):
        if site.strip().lower() not in OWN_SITE:
            return f"the browser says Sec-Fetch-Site: {site[:100]}"
    return ""


def _foreign_page(headers: Headers) -> str:
    """Return why the request comes from another page than one of this host, or nothing.

    A proxy in front may have replaced the Host, and says then which one the browser asked. A page
    cannot set these headers without a preflight, which nobody here answers.
    """
    scheme = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    hosts = [headers.get("host", "")]
    if "x-forwarded-host" in headers:
        hosts.append(headers["x-forwarded-host"].partition(",")[0].strip())
    for origin in headers.getlist("origin"):
        page = host_and_port(origin)
        if page is None or (scheme and page[0] != scheme):
            return _named(origin)
        if not any(host_and_port(f"{page[0]}://{host}") == page for host in hosts):
            return _named(origin)
    return ""


def _named(origin: str) -> str:
    return f"the browser names the Origin {origin[:100]!r}"


def _loopback_origin(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin of loopback, and None for any other text."""
    found = host_and_port(origin)
    if found is None or found[0] != "http" or found[1] not in LOOPBACK:
        return None
    return found
