"""Requests to the data API of caMicroscope 3: find, add and delete documents.

Source: camicroscope/Caracal, `handlers/dataHandlers.js`. What a query names is compared with the
document's text; a number in a document equals no text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlencode

import requests

from broker.secret_forms import secrets_of_url
from broker.settings.config import DeliverySettings
from worker.delivery.destinations.camicroscope.parts import Collection
from worker.delivery.http_exchange import (
    Headers,
    HttpExchange,
    Reply,
    SendCheck,
    UnansweredError,
)
from worker.delivery.payload import Payload, Receipt
from worker.http_session import is_retryable
from worker.results.json_text import strict_json

DOCUMENTS_MAX_BYTES: Final = 32 * 2**20
"""The documents of a part come in one answer, and are repeated in the answer to an insert."""
_JSON: Final = "application/json"
_LOGIN_STATUSES: Final = (401, 403)


@dataclass(frozen=True)
class DataApi:
    """The data API of one site. `root` is the address of the site, `token` may be empty."""

    root: str
    token: str
    session: requests.Session
    settings: DeliverySettings

    def find(self, collection: Collection, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the documents in which each field has this text.

        Raise `UnansweredError`, with `refused` where the server will not say, else with `later`.
        """
        url = f"{self._url(collection, 'find')}?{urlencode(wanted)}"
        exchange = self._exchange()
        try:
            reply = exchange.request("GET", url, self._headers(), limit_bytes=DOCUMENTS_MAX_BYTES)
        except UnansweredError as error:
            raise UnansweredError(_nothing_sent(error.receipt)) from None
        documents = reply.json()
        if reply.status == 200 and isinstance(documents, list):
            # a server or proxy that ignores a part of the query would answer others too
            return [one for one in documents if _has(one, wanted)]
        raise UnansweredError(_refusal(reply, exchange, "when asked what it has"))

    def add(
        self, collection: Collection, documents: Sequence[Mapping[str, Any]], check: SendCheck
    ) -> Receipt:
        """Insert the documents, and return what the answer means.

        The server inserts them one after another. It confirms how many it stored; after any other
        answer a part of them may be there. Raise `UnansweredError`, and what `check` raises.
        """
        exchange = self._exchange()
        url = self._url(collection, "post")
        with TemporaryDirectory() as folder:
            path = Path(folder) / "body"
            path.write_bytes(strict_json(documents))
            reply = exchange.post(
                url, Payload(_JSON, path), self._headers(), check, DOCUMENTS_MAX_BYTES
            )
        has_all = reply.status == 200 and _inserted(reply.json()) == len(documents)
        return _with_hint(exchange.receipt_for(reply, is_documented=has_all))

    def delete(self, collection: Collection, object_id: str) -> Receipt:
        """Delete one document; `accepted` also where the server says that there is none."""
        exchange = self._exchange()
        url = f"{self._url(collection, 'delete')}?{urlencode({'_id': object_id})}"
        try:
            reply = exchange.request("DELETE", url, self._headers())
        except UnansweredError as error:
            return _nothing_sent(error.receipt)
        if reply.status == 200:
            return Receipt("accepted", 200)
        if reply.status == 400:
            # the query matches no document: an earlier request has deleted it
            return Receipt("accepted", 400)
        return _refusal(reply, exchange, "when a mark of an earlier run was to be deleted")

    def _url(self, collection: Collection, act: str) -> str:
        return f"{self.root.rstrip('/')}/data/{collection}/{act}"

    def _headers(self) -> Headers:
        if not self.token:
            return {}
        return {"Authorization": f"Bearer {self.token}".encode()}

    def _exchange(self) -> HttpExchange:
        secrets = tuple(filter(None, (self.token, *secrets_of_url(self.root))))
        return HttpExchange(self.session, self.settings, secrets)


def object_id(document: Mapping[str, Any]) -> str:
    """Return the id that the database gave a document; empty where it has none."""
    given = document.get("_id")
    if isinstance(given, dict):
        given = given.get("$oid")
    if not isinstance(given, str):
        return ""
    return given


def _inserted(answer: Any) -> int | None:
    """Return how many documents MongoDB says that it inserted; None if it does not say.

    Its drivers say so in `insertedCount`, and older ones in `result.n` too.
    """
    if not isinstance(answer, dict):
        return None
    count = answer.get("insertedCount")
    if count is None and isinstance(answer.get("result"), dict):
        count = answer["result"].get("n")
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count


def _has(document: Any, wanted: Mapping[str, str]) -> bool:
    """Return whether each field of the document, named by its path, has this text."""
    for path, text in wanted.items():
        value = document
        for name in path.split("."):
            if not isinstance(value, dict):
                return False
            value = value.get(name)
        if value != text:
            return False
    return True


def _nothing_sent(receipt: Receipt) -> Receipt:
    """Return the receipt of a request that carried no results: none are unknown."""
    if receipt.outcome == "unknown":
        return replace(receipt, outcome="later")
    return receipt


def _refusal(reply: Reply, exchange: HttpExchange, when: str) -> Receipt:
    """Return what another answer than the documented one means to a request without results."""
    kind = exchange.excerpt(reply.content_type.encode())
    detail = f"answered {reply.status} {kind} {when}: {exchange.excerpt(reply.body)}".rstrip(": ")
    if 400 <= reply.status < 500 and not is_retryable(reply.status):
        return _with_hint(Receipt("refused", reply.status, detail))
    return Receipt("later", reply.status, detail, reply.retry_after_s)


def _with_hint(receipt: Receipt) -> Receipt:
    """Return the receipt; where the token is refused, with what to do."""
    if receipt.status not in _LOGIN_STATUSES:
        return receipt
    hint = (
        "its token has expired or may not write; deliver again to this destination with a new one"
    )
    return replace(receipt, detail=f"{receipt.detail}; {hint}")
