"""The order API of the service that runs on the settings of this shell, as a command calls it."""

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from broker.settings.sources import CALLER_KEY_VARIABLE
from slidelane.commands.pending_keys import PendingKeys
from slidelane.commands.worker_process import CommandError

_TIMEOUT_S: Final = 60.0
_MOST_BYTES: Final = 20 * 10**6
_TRIES: Final = 4
_FIRST_WAIT_S: Final = 0.5
_UNAVAILABLE: Final = 503
_KEY: Final = re.compile(r"[\x21-\x7e]{1,512}")


class NoAnswerError(Exception):
    """The service did not answer; whether it got the request is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered: an order, or a problem where the status is no success."""

    status: int
    body: dict[str, Any]
    is_replayed: bool = False

    @property
    def is_success(self) -> bool:
        """Whether the body is an order."""
        return 200 <= self.status < 300 and "id" in self.body


class _NoRedirects(HTTPRedirectHandler):
    """Follows nothing: a key is for one host alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return no request, so that the redirect is the answer."""


class OrderApi:
    """Calls the API at one address, with a key where there is one. Never prints the key.

    `headers` are those of every request, `opener` sends it.
    """

    def __init__(self, url: str, pending: PendingKeys) -> None:
        """Raise `CommandError` for a key that is none."""
        self.url = url
        self._pending = pending
        self.headers = {"Accept": "application/json"}
        key = caller_key()
        if key:
            self.headers["Authorization"] = f"Bearer {key}"
        # No proxy of the environment: it cannot reach loopback.
        self.opener = build_opener(ProxyHandler({}), _NoRedirects())

    def place(self, order: Mapping[str, Any]) -> Answer:
        """Place an order, again with the same idempotency key where no answer comes.

        Raise `NoAnswerError`; the command may then be repeated without making a second order.
        """
        body = json.dumps(order).encode()
        key = self._pending.begin(self.url, body)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = self._send("/v1/orders", body, headers)
        if answer.status != _UNAVAILABLE:
            self._pending.end(self.url, body)
        return answer

    def place_techcyte_task(self, task: bytes, webhook: str | None) -> Answer:
        """Place the order of a task of Techcyte, by the settings of the webhook of this name.

        None stands for the only webhook. The same task is the same order, however often it is sent.
        Raise `NoAnswerError`.
        """
        path = "/v1/techcyte/tasks"
        if webhook:
            path = f"{path}?{urlencode({'webhook': webhook})}"
        return self._send(path, task, {"Content-Type": "application/json"})

    def _send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer, asking again where none comes. Raise `NoAnswerError`."""
        wait_s = _FIRST_WAIT_S
        for _ in range(_TRIES - 1):
            try:
                answer = self._call(path, body, headers)
                if answer.status != _UNAVAILABLE:
                    return answer
            except NoAnswerError:
                pass
            time.sleep(wait_s)
            wait_s *= 2
        return self._call(path, body, headers)

    def get(self, order_id: str) -> Answer:
        """Return the order as it is now. Raise `NoAnswerError`."""
        return self._call(f"/v1/orders/{order_id}", None, {})

    def check(self) -> None:
        """Raise `CommandError` where nobody answers."""
        try:
            self._call("/healthz", None, {})
        except NoAnswerError as error:
            raise CommandError(
                f"no service answers at {self.url} ({error}); start one with `make serve` or "
                "`slidelane serve`, or say where it is: --set services.host=… --set services.port=…"
            ) from None

    def _call(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        request = Request(self.url + path, body, {**self.headers, **headers})  # noqa: S310
        try:
            with self.opener.open(request, timeout=_TIMEOUT_S) as answer:
                is_replayed = answer.headers.get("Idempotency-Replayed") == "true"
                return Answer(answer.status, answer_object(answer.read(_MOST_BYTES)), is_replayed)
        except HTTPError as error:
            with error:
                return Answer(error.code, answer_object(error.read(_MOST_BYTES)))
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise NoAnswerError(str(reason) or type(error).__name__) from None


def caller_key() -> str:
    """Return the API key of SLIDELANE_KEY, or of the file of SLIDELANE_KEY_FILE, or nothing.

    Raise `CommandError`, which does not repeat it, for one that no header can carry.
    """
    name = CALLER_KEY_VARIABLE
    key = os.environ.get(name, "").strip()
    file = os.environ.get(f"{name}_FILE")
    if not key and file:
        name = f"{name}_FILE"
        try:
            with Path(file).open("rb") as opened:
                key = opened.read(1000).decode("ascii", "replace").strip()
        except OSError as error:
            raise CommandError(f"{name}: {file} cannot be read ({error.strerror})") from None
    if key and not _KEY.fullmatch(key):
        raise CommandError(f"{name} is no API key: a key is one word of printable ASCII")
    return key


def answer_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object; for anything else one that says so."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    return {"code": "request_malformed", "detail": "the answer is not that of Slidelane's API"}
