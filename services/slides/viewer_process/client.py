"""Asks the viewer process, over connections that are kept and shared by all requests of the API."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from broker.errors import CODES, OrderError, Problem, TemporaryError
from broker.settings.config import BrokerSettings
from broker.settings.viewer import viewer_socket
from services.slides.viewer_process.http_connection import (
    BadAnswerError,
    Place,
    ViewerAnswer,
    ViewerConnection,
    ViewerRequest,
)

ANSWER_S: Final = 60.0
"""The viewer opens a slide and decodes a tile within a few seconds; a hung one is ended by it."""
CONNECT_S: Final = 3.0
MOST_PICTURES: Final = 32
"""Requests for pixels at a time; one more waits for its turn."""
MOST_QUESTIONS: Final = 16
"""Requests for JSON at a time. Slow slides keep pixels of others waiting no more than that."""
MOST_WAITING_THREADS: Final = 8
"""Threads that wait for the viewer. All requests share 40, also those that place orders."""
_PROBLEM_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 5.0
_MAX_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class _Turns:
    """Lets limited numbers of requests through at a time, in one event loop."""

    loop: asyncio.AbstractEventLoop
    pictures: asyncio.Semaphore
    questions: asyncio.Semaphore


class ViewerClient:
    """Requests to the viewer. For the tasks of one event loop at a time."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._place = _place(settings)
        self._headers = _own_headers(settings)
        self._kept: list[ViewerConnection] = []
        self._turns: _Turns | None = None
        self._waiting_threads = 0

    async def get(
        self,
        target: str,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        digest: str = "",
    ) -> ViewerAnswer:
        """Return the viewer's answer about the slide at `path` on its disk.

        `target` is percent-encoded. With a `digest` the slide must still be that one. Raise
        `OrderError` for what the viewer refuses, and `TemporaryError("viewer_unavailable")`.
        """
        request = ViewerRequest("GET", target, self._sent(path, digest) | dict(headers or {}))
        return await self._ask(request, path, self._all_turns().pictures)

    async def get_json(self, target: str, path: str = "", *, digest: str = "") -> dict[str, Any]:
        """Return the JSON object that the viewer answers; raise as `get` does."""
        request = ViewerRequest("GET", target, self._sent(path, digest))
        return _document(await self._ask(request, path, self._all_turns().questions))

    async def post_json(
        self, target: str, path: str, document: Any, *, digest: str = ""
    ) -> dict[str, Any]:
        """Return what the viewer answers to a JSON document that changes nothing; as `get`."""
        headers = self._sent(path, digest) | {"content-type": "application/json"}
        request = ViewerRequest("POST", target, headers, json.dumps(document).encode())
        return _document(await self._ask(request, path, self._all_turns().questions))

    @contextmanager
    def waiting_thread(self) -> Iterator[None]:
        """Count a thread of the API that waits for the viewer while the context lasts.

        Raise `TemporaryError("viewer_busy")` where as many wait as may. To be entered in the event
        loop.
        """
        if self._waiting_threads >= MOST_WAITING_THREADS:
            raise TemporaryError(
                "viewer_busy",
                f"{MOST_WAITING_THREADS} orders wait for the viewer of slides",
                hint="try again later; slides can be ordered all the same",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._waiting_threads += 1
        try:
            yield
        finally:
            self._waiting_threads -= 1

    async def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            await self._kept.pop().closed()

    def _sent(self, path: str, digest: str) -> dict[str, str]:
        """Return the headers of a request about a slide."""
        sent = dict(self._headers)
        if path:
            sent["slide-path"] = quote(path, safe="/")
        if digest:
            sent["slide-digest"] = quote(digest, safe=":")
        return sent

    async def _ask(
        self, request: ViewerRequest, path: str, turns: asyncio.Semaphore
    ) -> ViewerAnswer:
        try:
            async with asyncio.timeout(ANSWER_S), turns:
                answer = await self._answer(request)
        except (OSError, EOFError, BadAnswerError, TimeoutError) as error:
            raise unavailable(error) from None
        if answer.status >= 400:
            raise _refused(answer, path)
        return answer

    def _all_turns(self) -> "_Turns":
        """Return what lets a limited number of requests through, of the loop that runs."""
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns.loop is not loop:
            pictures = asyncio.Semaphore(MOST_PICTURES)
            self._turns = _Turns(loop, pictures, asyncio.Semaphore(MOST_QUESTIONS))
        return self._turns

    async def _answer(self, request: ViewerRequest) -> ViewerAnswer:
        """Return the answer; repeat the request once where a kept connection was closed."""
        connection = self._kept_connection()
        if connection is not None:
            try:
                return await self._ask_and_keep(connection, request)
            except (OSError, EOFError):
                # The viewer closes a connection that was idle, perhaps at this very moment.
                pass
        async with asyncio.timeout(CONNECT_S):
            connection = await ViewerConnection.open(self._place)
        return await self._ask_and_keep(connection, request)

    async def _ask_and_keep(
        self, connection: ViewerConnection, request: ViewerRequest
    ) -> ViewerAnswer:
        try:
            answer = await connection.ask(request)
        except BaseException:
            # Also where the caller left: what is unread would be the next caller's answer.
            connection.close()
            raise
        if connection.may_be_kept and len(self._kept) < MOST_PICTURES:
            self._kept.append(connection)
        else:
            connection.close()
        return answer

    def _kept_connection(self) -> ViewerConnection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None


def unavailable(error: BaseException) -> TemporaryError:
    """Return the problem of a viewer that does not answer, or not as one does."""
    what = f"the viewer of slides does not answer ({type(error).__name__})"
    if isinstance(error, BadAnswerError):
        what = f"the viewer's answer is not understood: {error}"
    if isinstance(error, TimeoutError):
        what = f"the viewer of slides did not answer within {ANSWER_S:g} s"
    return TemporaryError(
        "viewer_unavailable",
        what,
        hint="slides can be ordered all the same; start the viewer with python -m worker.viewer",
        retry_after_s=_RETRY_AFTER_S,
    )


def _document(answer: ViewerAnswer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise unavailable(BadAnswerError("its body is not JSON")) from None
    if not isinstance(document, dict):
        raise unavailable(BadAnswerError("its body is no JSON object"))
    return document


def _refused(answer: ViewerAnswer, path: str) -> OrderError | TemporaryError:
    """Return the error for an answer of 400 and above, without the place of the slide."""
    fields: dict[str, Any] = {}
    if answer.headers.get("content-type", "").partition(";")[0] == _PROBLEM_TYPE:
        fields = _document(answer)
    code = fields.get("code")
    if code in ("key_missing", "key_refused"):
        return unavailable(BadAnswerError("it refuses the secret; see broker.viewer.secret"))
    if code not in CODES:
        return unavailable(BadAnswerError(f"it has the status {answer.status}"))
    problem = Problem(
        code,
        _text(fields.get("detail"), path),
        _text(fields.get("hint"), path),
        _text(fields.get("field"), path),
    )
    if CODES[code].status >= 500 and CODES[code].blame == "platform":
        return TemporaryError(code, problem.detail, hint=problem.hint, retry_after_s=_RETRY_AFTER_S)
    return OrderError(code, problem.detail, hint=problem.hint, field=problem.field)


def _text(value: Any, path: str) -> str:
    """Return a text of the viewer's, at most a thousand characters of it.

    Whoever looks at a slide is not told where it lies.
    """
    text = str(value or "")
    if path:
        text = text.replace(path, "the slide")
    return text[:_MAX_TEXT]


def _place(settings: BrokerSettings) -> Place:
    if not settings.viewer.url:
        return Place(socket=viewer_socket(settings.data))
    parts = urlsplit(settings.viewer.url)
    return Place(host=parts.hostname or "", port=parts.port or 80)


def _own_headers(settings: BrokerSettings) -> dict[str, str]:
    if settings.viewer.secret is None:
        return {}
    return {"authorization": f"Bearer {settings.viewer.secret.get_secret_value()}"}
