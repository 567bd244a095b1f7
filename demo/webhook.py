"""A stand-in for a receiver of webhooks: `python -m demo.webhook`.

Checks each call as Standard Webhooks 1.0 says, and keeps every event once, however often it comes.
"""

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from demo.http_server import Answer, Request
from demo.receivers import LOOPBACK, Receiver, RefusedError, serve_alone

TOLERANCE_S = 300
MAX_BODY_BYTES = 20_000


class WebhookReceiver(Receiver):
    """Takes calls on any path. `secret` is random; `events` has what came, by `webhook-id`."""

    def __init__(self, port: int = 0, host: str = LOOPBACK) -> None:
        super().__init__(port, host)
        self.key = secrets.token_bytes(32)
        self.secret = f"whsec_{base64.b64encode(self.key).decode()}"
        self.events: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Answer:
        """Answer 204 to a call that is signed, 401 to any other, 413 to one that is too long."""
        if request.method != "POST":
            raise RefusedError(405, "an event is posted")
        if len(request.body) > MAX_BODY_BYTES:
            raise RefusedError(413, "an event has at most 20 kB")
        message_id = request.headers.get("webhook-id", "")
        self._check_signature(request, message_id)
        event = json.loads(request.body)
        if message_id not in self.events:
            self.events[message_id] = event
            self.accept(request, {"id": message_id, "event": event})
        return Answer(204)

    def _check_signature(self, request: Request, message_id: str) -> None:
        """Raise `RefusedError` where no signature is right, or the time is not that of now."""
        timestamp = request.headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
            raise RefusedError(401, "webhook-timestamp is not now")
        signed = f"{message_id}.{timestamp}.".encode() + request.body
        digest = hmac.new(self.key, signed, hashlib.sha256).digest()
        expected = f"v1,{base64.b64encode(digest).decode()}"
        given = request.headers.get("webhook-signature", "").split(" ")
        if "." in message_id or not any(hmac.compare_digest(one, expected) for one in given):
            raise RefusedError(401, "webhook-signature is not right")


if __name__ == "__main__":
    serve_alone(WebhookReceiver, ("url", "secret"))
