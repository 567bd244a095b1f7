"""What comes before every request: the shared secret, and a bound on requests at a time."""

import hmac
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.errors import Problem
from worker.viewer import problems

MOST_REQUESTS: Final = 512
"""Requests that are served or wait at a time."""
_OPEN_PATH: Final = "/healthz"


class Guard:
    """An ASGI application around another one. Without a secret everybody is answered."""

    def __init__(self, app: ASGIApp, secret: str | None) -> None:
        self._app = app
        self._expected = None
        if secret is not None:
            self._expected = f"Bearer {secret}".encode()
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        problem = None
        if scope["type"] == "http" and scope["path"] != _OPEN_PATH:
            problem = self._refusal(Headers(scope=scope).get("authorization"))
        if problem is not None:
            await problems.answer(problem)(scope, receive, send)
            return
        self._requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests -= 1

    def _refusal(self, authorization: str | None) -> Problem | None:
        """Return why the request is not served, None where it is."""
        if self._expected is not None:
            given = (authorization or "").encode()
            if not hmac.compare_digest(given, self._expected):
                return _refused(authorization)
        if self._requests >= MOST_REQUESTS:
            return Problem("viewer_busy", f"{MOST_REQUESTS} requests are being served")
        return None


def _refused(authorization: str | None) -> Problem:
    hint = "Authorization: Bearer SECRET, with the secret of broker.viewer.secret"
    if authorization is None:
        return Problem("key_missing", "the viewer asks for its secret", hint)
    return Problem("key_refused", "this is not the viewer's secret", hint)
