"""Refuses requests that another web page made a browser send, where no key protects the API.

Browsers add `Origin` and `Sec-Fetch-Site`, and no script can change them. Programs send neither.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import Problem
from broker.settings.config import LOOPBACK
from services import secret_paths
from services.responses import problems

READING = frozenset({"GET", "HEAD"})
OWN_SITE = frozenset({"same-origin", "none"})
"""`none`: the person typed the address, and no page was involved."""
HTTP_PORT = 80


class OriginCheck:
    """Middleware that answers 403 `foreign_origin` before anything else is looked at.

    Reading is let through: without `Access-Control-Allow-Origin` a page cannot see the answer. So
    is an address that holds a secret.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        if secret_paths.is_secret(scope["path"]):
            # A web page does not know the secret, and needs no more than that.
            await self._app(scope, receive, send)
            return
        why = foreign_origin(Headers(scope=scope))
        if not why:
            await self._app(scope, receive, send)
            return
        problem = Problem(
            "foreign_origin",
            f"without services.keys only programs and the API's own pages change anything; {why}",
            "send it from a program, from a page of this API, or configure services.keys",
            blame="input",
        )
        await problems.answer(problem, scope["path"])(scope, receive, send)


def foreign_origin(headers: Headers) -> str:
    """Return why the request comes from another page, or nothing."""
    for site in headers.getlist("sec-fetch-site"):
        if site.strip().lower() not in OWN_SITE:
            return f"the browser says Sec-Fetch-Site: {site[:100]}"
    own = _host_and_port(f"http://{headers.get('host', '')}")
    for origin in headers.getlist("origin"):
        if own is None or _host_and_port(origin) != own:
            return f"the browser names the Origin {origin[:100]!r}"
    return ""


def _host_and_port(origin: str) -> tuple[str, int] | None:
    """Return host and port of an origin of loopback, and None for any other text."""
    try:
        parts = urlsplit(origin.strip())
        host = parts.hostname
        port = parts.port or HTTP_PORT
    except ValueError:
        return None
    if parts.scheme != "http" or host not in LOOPBACK:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return host, port
