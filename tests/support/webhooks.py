"""A receiver of webhooks, and what it knows them by."""

import base64
from threading import Thread
from typing import Self

from demo.faults import Faults
from demo.http_server import Answer, Request, Server

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(bytes(range(1, 33))).decode()}"


class WebhookReceiver(Server):
    """Keeps every call and answers what the test says."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, self.take, Faults())
        self.calls: list[Request] = []
        self.answer = Answer(204)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = Thread(target=self.serve_forever, args=(0.05,))

    def take(self, request: Request) -> Answer:
        """Keep one call."""
        self.calls.append(request)
        return self.answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._thread.join()
