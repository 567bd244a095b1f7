"""Calls to Techcyte's external results API: its addresses, and the tokens that open it."""

import base64
import re
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final
from urllib.parse import quote, urlsplit

import requests

from broker.orders.request import TechcyteDestination
from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.techcyte.tokens import TokenCache, cache_key
from worker.delivery.http_exchange import (
    REPLY_MAX_BYTES,
    Headers,
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
    send_always,
)
from worker.delivery.payload import Payload, Receipt

_TOKEN_MADE: Final = 200
_TOKEN_REFUSED: Final = 401


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API.

    `payload` is a file that is posted; `check` is called before each piece of it is sent. `body` is
    JSON in memory.
    """

    method: str
    path: str
    payload: Payload | None = None
    body: bytes | None = None
    check: SendCheck = send_always
    limit_bytes: int = REPLY_MAX_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API, and the exchange that knows which secrets it may repeat."""

    reply: Reply
    exchange: HttpExchange

    def receipt(self, *, is_documented: bool) -> Receipt:
        """Return what the answer means for what was sent."""
        return self.exchange.receipt_for(self.reply, is_documented=is_documented)


@dataclass(frozen=True)
class TechcyteApi:
    """The API of one Techcyte, opened by the token of a task or by an API key."""

    request: TechcyteDestination
    session: requests.Session
    settings: DeliverySettings
    tokens: TokenCache = field(default_factory=TokenCache)

    @property
    def host(self) -> str:
        """Return host and port of the API."""
        return urlsplit(self._url("")).netloc.rpartition("@")[2]

    def task_path(self, kind: str) -> str:
        """Return the path of `external/KIND/TASK`."""
        return f"external/{kind}/{task_segment(self.request.task_id)}"

    def send(self, call: Call) -> Answer:
        """Send a request and return the answer.

        A token that is refused is replaced once, by the API key if there is one, and the request is
        sent again: a server that refuses the token has taken nothing. Raise `UnansweredError`.
        """
        token = self._token()
        answer = self._send_with(call, token)
        if answer.reply.status != _TOKEN_REFUSED or not self.request.api_key_secret:
            return answer
        self.tokens.forget(self._cache_key, token)
        return self._send_with(call, self._token_of_key())

    def _send_with(self, call: Call, token: str) -> Answer:
        exchange = self._exchange(token)
        headers = {"Authorization": f"Bearer {token}".encode()}
        url = self._url(call.path)
        if call.payload is not None:
            return Answer(exchange.post(url, call.payload, headers, call.check), exchange)
        if call.body is not None:
            headers["Content-Type"] = b"application/json"
        reply = exchange.request(call.method, url, headers, call.body, limit_bytes=call.limit_bytes)
        return Answer(reply, exchange)

    def _url(self, path: str) -> str:
        return f"{self._base_url()}/api/v3/{path}"

    def _base_url(self) -> str:
        if self.request.base_url:
            given = self.request.base_url.get_secret_value().rstrip("/")
            # Techcyte's own documents name the address with it.
            return given.removesuffix("/api/v3").rstrip("/")
        return f"https://api.{self.request.host}"

    def _token(self) -> str:
        """Return the task's own token, or one for the API key. Raise `UnansweredError`."""
        if self.request.jwt_token:
            return self.request.jwt_token.get_secret_value()
        return self.tokens.get(self._cache_key) or self._token_of_key()

    def _token_of_key(self) -> str:
        """Exchange the API key for a token and keep it. Raise `UnansweredError`."""
        answer = self._exchange_key().json()
        token = ""
        lifetime: Any = None
        if isinstance(answer, dict):
            token = answer.get("access_token", "")
            lifetime = answer.get("expires_in")
        if not isinstance(token, str) or not token:
            detail = "the answer to the API key holds no access_token"
            raise UnansweredError(Receipt("later", detail=detail))
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
            lifetime = inf
        self.tokens.put(self._cache_key, token, float(lifetime))
        return token

    def _exchange_key(self) -> Reply:
        exchange = self._exchange()
        headers: Headers = {"Authorization": f"Basic {self._basic_credentials()}"}
        form = {"grant_type": "client_credentials"}
        try:
            reply = exchange.request("POST", self._url("token"), headers, form)
        except UnansweredError as error:
            raise UnansweredError(_token_receipt(error.receipt)) from None
        receipt = exchange.receipt_for(reply, is_documented=reply.status == _TOKEN_MADE)
        if receipt.outcome != "accepted":
            raise UnansweredError(_token_receipt(receipt))
        return reply

    @property
    def _cache_key(self) -> str:
        return cache_key(self._base_url(), self.request.api_key_id or "", self._secret())

    def _secret(self) -> str:
        if self.request.api_key_secret:
            return self.request.api_key_secret.get_secret_value()
        return ""

    def _basic_credentials(self) -> str:
        return base64.b64encode(f"{self.request.api_key_id}:{self._secret()}".encode()).decode()

    def _exchange(self, token: str = "") -> HttpExchange:
        secrets = [token, self._basic_credentials(), self._secret()]
        if self.request.jwt_token:
            secrets.append(self.request.jwt_token.get_secret_value())
        secrets += secrets_of_url(self._url(""))
        return HttpExchange(self.session, self.settings, tuple(secrets))


def task_segment(task_id: str) -> str:
    """Return the task as one segment of a URL's path.

    It is the number if the id is the base64 of `task:NUMBER`, else the id percent-encoded.
    """
    try:
        text = base64.b64decode(task_id, validate=True)
    except ValueError:
        text = b""
    match = re.fullmatch(rb"task:(\d+)", text)
    if match:
        return match[1].decode()
    return quote(task_id, safe="")


def _token_receipt(receipt: Receipt) -> Receipt:
    """Return the receipt of a failed token request: no results were sent, so none are unknown."""
    detail = f"no token for the API key: {receipt.detail}"
    if receipt.outcome == "unknown":
        return replace(receipt, outcome="later", detail=detail)
    return replace(receipt, detail=detail)
