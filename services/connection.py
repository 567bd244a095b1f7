"""One HTTP connection that nobody can hold for ever, and the bound on how many there are.

uvicorn waits without end for the headers of a request, for the rest of a body that no route reads,
and for a caller that does not take its answer; and it accepts as many connections as there are
files.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from broker.errors import Problem
from services.responses import problems
from services.uploads.protocol import is_upload

_log = logging.getLogger(__name__)
_Awaited = Literal["request", "answer", "reader"]
NO_HEADERS: Final[Mapping[str, str]] = {}
FULL: Final = "every connection is in use"


@dataclass(frozen=True)
class ConnectionLimits:
    """What all connections of the server share.

    `waiting` holds those whose callers have not sent a whole request yet, in the order in which
    they began to wait.
    """

    connections: int
    request_within_s: float = 30.0
    """From the first byte of a request, or from the connection on, until its headers are whole."""
    headers_bytes: int = 16_384
    """More than this of a request line and headers that are not whole is refused."""
    idle_s: int = 5
    """How long a connection that has served a request waits for the next one."""
    reads_within_s: float = 60.0
    """How long a caller may take nothing of its answer while some of it waits to be sent."""
    waiting: "dict[BoundedConnection, None]" = field(default_factory=dict)


class BoundedConnection(H11Protocol):
    """An HTTP/1.1 connection of uvicorn with deadlines for the caller.

    Errors in the HTTP itself are answered as problems. A new connection above the limit takes the
    place of the one that has waited longest for its caller; where every connection serves a
    request, the new one is answered 503.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(config, BoundedConfig)  # noqa: S101 - only `BoundedConfig` names this class
        self._limits = config.limits
        self._awaited: _Awaited = "answer"
        self._deadline: asyncio.TimerHandle | None = None
        self._is_writing_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve a new connection, or make room for it."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._limits.connections:
            oldest = next(iter(self._limits.waiting))
            oldest.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._limits.waiting.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the caller sent."""
        is_next_request = self.timeout_keep_alive_task is not None
        super().data_received(data)
        if is_next_request:
            self._stop_timer()
        if self._is_body_awaited() and is_upload(self.scope["path"]):
            # An upload may take hours: it moves behind those whose callers send nothing.
            self._limits.waiting.pop(self, None)
        self._watch()

    def on_response_complete(self) -> None:
        """Go on with the next request of the connection."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Stop sending: the caller does not take what was sent."""
        super().pause_writing()
        self._is_writing_paused = True
        self._watch()

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        self._is_writing_paused = False
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request."""
        super().timeout_keep_alive_handler()
        self._watch()

    def shutdown(self) -> None:
        """Close the connection, or let it end its answer first."""
        super().shutdown()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem. `msg` is the text that uvicorn would send."""
        # uvicorn calls this where it handles the error of h11, without passing it on.
        error = sys.exception()
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            problem = Problem(
                "headers_too_large",
                f"request line and headers are larger than {self._limits.headers_bytes} bytes",
                "shorten the query, or send fewer headers",
                blame="input",
            )
        else:
            problem = Problem(
                "request_malformed",
                msg,
                "send HTTP/1.1 with a Host header, and a body as its headers announce it",
                blame="input",
            )
        self._end(problem)

    def make_room(self) -> None:
        """Give this connection up for a new one. Its caller has not sent a whole request."""
        _log.warning("%s: the one that waited longest for its caller was closed", FULL)
        # A connection that is closing makes no room a second time.
        self._limits.waiting.pop(self, None)
        hint = "close idle connections, and try again"
        self._end(
            Problem("too_many_connections", FULL, hint),
            {"retry-after": str(problems.RETRY_AFTER_S)},
        )

    def _watch(self) -> None:
        """Hold the caller to a deadline while the next step is the caller's."""
        awaited = self._awaited_now()
        if awaited == "request" or self._is_body_awaited():
            self._limits.waiting.setdefault(self)
        else:
            self._limits.waiting.pop(self, None)
        if awaited == self._awaited and (self._deadline or awaited == "answer"):
            return
        self._stop_timer()
        self._awaited = awaited
        if awaited == "request":
            self._deadline = self.loop.call_later(
                self._limits.request_within_s, self._end_without_request
            )
        elif awaited == "reader":
            self._deadline = self.loop.call_later(self._limits.reads_within_s, self.transport.abort)

    def _awaited_now(self) -> _Awaited:
        if self.transport.is_closing() or self._is_writing_paused:
            return "reader"
        if self.cycle is None or self.cycle.response_complete:
            return "request"
        return "answer"

    def _is_body_awaited(self) -> bool:
        """Say whether a request is served whose body has not arrived whole.

        Whoever reads it holds the caller to a deadline (`services.requests.json_body`,
        `services.uploads.receiving`).
        """
        if self.transport.is_closing() or self.cycle is None:
            return False
        return self.cycle.more_body and not self.cycle.response_started

    def _end_without_request(self) -> None:
        if not self.conn.trailing_data[0]:
            # A browser opens connections in advance, and would take an answer for that of its next
            # request.
            self._close()
            return
        self._end(
            Problem(
                "headers_too_slow",
                f"the headers did not arrive whole within {self._limits.request_within_s:g} s",
                "send the request line and all headers at once",
                blame="input",
            )
        )

    def _end(self, problem: Problem, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Close the connection, with the problem as an answer where one can be sent."""
        if self._can_be_answered():
            response = problems.answer(problem, "/", headers={"connection": "close", **headers})
            start = h11.Response(
                status_code=response.status_code,
                headers=response.raw_headers,
                reason=HTTPStatus(response.status_code).phrase,
            )
            for event in (start, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._close()

    def _close(self) -> None:
        if self.cycle is not None:
            # What the route still answers goes nowhere.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
        self._watch()

    def _can_be_answered(self) -> bool:
        """Say whether an answer is due: not between two requests, nor after one has begun."""
        if self.transport.is_closing():
            return False
        has_served = self.cycle is not None and self.cycle.response_complete
        if has_served and not self.conn.trailing_data[0]:
            return False
        return self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    def _stop_timer(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class BoundedConfig(Config):
    """The settings of uvicorn with those of `BoundedConnection`."""

    def __init__(self, app: Any, limits: ConnectionLimits, **settings: Any) -> None:
        self.limits = limits
        super().__init__(
            app,
            # Named, so that no other server library that happens to be installed takes its place.
            http=BoundedConnection,
            ws="none",
            loop="asyncio",
            h11_max_incomplete_event_size=limits.headers_bytes,
            timeout_keep_alive=limits.idle_s,
            **settings,
        )
