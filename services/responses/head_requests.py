"""Answers HEAD on every address that answers GET (RFC 9110, 9.3.2)."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.uploads.protocol import is_upload


class HeadRequests:
    """Middleware that asks the application for GET, and sends the headers of its answer alone.

    Uploads answer HEAD themselves, and no GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or is_upload(scope["path"]):
            await self._app(scope, receive, send)
            return
        exchange = _HeadExchange(send)
        await self._app({**scope, "method": "GET"}, exchange.receive, exchange.send)


class _HeadExchange:
    """One request without a body, whose caller leaves once the headers are sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_request_read = False
        self._is_answered = asyncio.Event()

    async def receive(self) -> Message:
        """Return the request's empty body and then, after the headers, the end of the exchange.

        A file or a stream is not read any further after that.
        """
        if not self._is_request_read:
            self._is_request_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._is_answered.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Send the headers; leave the body out."""
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            self._is_answered.set()
