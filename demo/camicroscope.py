"""A stand-in for the data API of caMicroscope 3 (Caracal): `python -m demo.camicroscope`.

Stores marks and heat maps of any slide, as strict as viewer and server together;
`demo.camicroscope_rules` checks the documents.
"""

import json
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from demo.camicroscope_rules import check_document, names
from demo.http_server import Answer, Request
from demo.receivers import LOOPBACK, Entry, Receiver, RefusedError, serve_alone

COLLECTIONS = ("Mark", "Heatmap")
CHUNK_BYTES = 16 * 2**10
"""Node decodes a body chunk by chunk: a character that lies across two of them is broken."""
PAGE_SIZE = 1000


class CaMicroscopeReceiver(Receiver):
    """Stores documents. `documents` lists those of each collection, in order.

    `token`: what must be sent as Bearer; random unless given. `refuses_angles`: answer 400 to `<`
    and `>` (ERR_ON_SANITIZE) and do not remove them. `is_paged`: `find` answers at most 1000
    documents, as routes of newer sites do. `stored_before_failure`: of the next arrays that are
    inserted, only so many documents are stored, and the answer is 500.
    """

    def __init__(self, port: int = 0, host: str = LOOPBACK, *, token: str | None = None) -> None:
        super().__init__(port, host)
        self.token = secrets.token_urlsafe() if token is None else token
        self.documents: dict[str, list[dict[str, Any]]] = {name: [] for name in COLLECTIONS}
        self.refuses_angles = False
        self.is_paged = False
        self.stored_before_failure: list[int] = []
        self.queries: list[dict[str, str]] = []

    def answer(self, request: Request) -> Answer:
        """Answer as the server does. 401: the token. 400: what it refuses. 500: what it lacks."""
        self._authorise(request)
        _, data, collection, act = f"{request.path}///".split("/")[:4]
        if data != "data" or collection not in COLLECTIONS:
            raise RefusedError(
                404, f"{request.method} {request.path} is not an address of this API"
            )
        query = dict(parse_qsl(request.query))
        match request.method, act:
            case "POST", "post":
                return self._insert(collection, request)
            case "GET", "find":
                self.queries.append(query)
                return Answer(200, self._find(collection, query))
            case "DELETE", "delete":
                return self._delete(collection, query)
        raise RefusedError(404, f"{request.method} {request.path} is not an address of this API")

    def runs(self, slide: str) -> list[Entry]:
        """Return what is stored for the slide, one entry for each time that it is there.

        `sha256` is that of the payload, put together again of its documents.
        """
        found = [one for each in self.documents.values() for one in each if names(one)[0] == slide]
        by_number: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for document in found:
            by_number[document["slidelane"]["number"]].append(document)
        times = max(map(len, by_number.values()), default=0)
        entries = []
        for time_number in range(times):
            there = [
                by_number[number][time_number]
                for number in sorted(by_number)
                if len(by_number[number]) > time_number
            ]
            content = _payload(there)
            at = max(document["_id"]["at"] for document in there)
            note = {"slide": slide, "documents": len(there)}
            digest = sha256(content).hexdigest()
            entries.append(Entry(at, "/data/", digest, len(content), note))
        return entries

    def _authorise(self, request: Request) -> None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            refusal = RefusedError(401, "")
            refusal.answer = Answer(401, {"err": "token failed check"})
            raise refusal

    def _insert(self, collection: str, request: Request) -> Answer:
        """Store the documents one after another, up to the first that cannot be stored."""
        given = json.loads(self._sanitized(_decoded(request.body)))
        array = given if isinstance(given, list) else [given]
        may_store = len(array)
        if self.stored_before_failure:
            may_store = min(may_store, self.stored_before_failure.pop(0))
        stored = []
        try:
            for document in array[:may_store]:
                names(document)
                check_document(collection, document)
                stored.append(self._store(collection, document))
        except (ValueError, LookupError, TypeError) as error:
            return Answer(500, {"error": f"{collection}: {error}"})
        if may_store < len(array):
            return Answer(500, {"error": "not primary and retryable writes are off"})
        ids = dict(enumerate(one["_id"]["$oid"] for one in stored))
        result = {"ok": 1, "n": len(stored)}
        answer = {"insertedCount": len(stored), "insertedIds": ids, "ops": stored}
        self.accept(request, {"collection": collection, "documents": len(stored)})
        return Answer(200, {"result": result, **answer})

    def _sanitized(self, text: str) -> str:
        if self.refuses_angles and ("<" in text or ">" in text):
            raise RefusedError(400, "the body holds < or >")
        return text.replace("<", "").replace(">", "")

    def _store(self, collection: str, document: dict[str, Any]) -> dict[str, Any]:
        stored = document | {"_id": {"$oid": secrets.token_hex(12), "at": time.time()}}
        self.documents[collection].append(stored)
        return stored

    def _find(self, collection: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        wanted = dict(query)
        start = 0
        size = None
        if self.is_paged:
            size = int(wanted.pop("_pageSize", PAGE_SIZE))
            start = size * int(wanted.pop("_page", 0))
        matching = [one for one in self.documents[collection] if _matches(one, wanted)]
        if size is None:
            return matching
        return matching[start : start + size]

    def _delete(self, collection: str, query: Mapping[str, str]) -> Answer:
        wanted = dict(query)
        if "_id" in wanted:
            wanted["_id.$oid"] = wanted.pop("_id")
        matching = [one for one in self.documents[collection] if _matches(one, wanted)]
        if len(matching) != 1:
            raise RefusedError(400, f"the query matches {len(matching)} documents, not one")
        self.documents[collection].remove(matching[0])
        return Answer(200, {"result": {"ok": 1, "n": 1}, "deletedCount": 1})


def _decoded(body: bytes) -> str:
    pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
    return "".join(piece.decode("utf-8", "replace") for piece in pieces)


def _matches(document: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Return whether the document has each text; a number equals no text."""
    for path, text in wanted.items():
        value: Any = document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value != text:
            return False
    return True


def _payload(documents: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the lines that the documents came in: one for each part."""
    parts: dict[str, list[str]] = {}
    for document in documents:
        sent = {name: value for name, value in document.items() if name != "_id"}
        text = json.dumps(sent, sort_keys=True, separators=(",", ":"))
        parts.setdefault(document["slidelane"]["part"], []).append(text)
    return "".join(f"[{','.join(texts)}]\n" for texts in parts.values()).encode()


if __name__ == "__main__":
    serve_alone(CaMicroscopeReceiver, ("url", "token"))
