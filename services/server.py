"""The HTTP server: uvicorn, with bounds on connections, on open files and on its log."""

import logging
import socket
import time
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp

from broker import open_files
from broker.settings.config import ServicesSettings
from services import connection
from services.connection import BoundedConfig, ConnectionLimits
from services.live.feed import ChangeFeed

SHUTDOWN_S = 10
ACCEPTED_AT_ONCE = 32
"""Connections that asyncio accepts before it serves one.

They need files beyond the limit of connections. When no file is left, asyncio tries so many times
a second, and logs each.
"""
LISTEN_BACKLOG = 2048
"""Connections that wait in the kernel."""
RESERVED_FILES = 64
"""Files beside those of connections: Redis, the log, the listener, libraries being loaded."""
FILES_OF_A_CONNECTION = 2
"""Its socket, and a result that is downloaded by it."""
LIMITED_LINES = (
    "socket.accept() out of system resource",
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "No supported WebSocket library detected.",
    "%s: the one that waited longest",
)
_log = logging.getLogger(__name__)


def connections_within(max_connections: int, files: int) -> int:
    """Return how many connections there may be where `files` files may be open."""
    spare = files - RESERVED_FILES - ACCEPTED_AT_ONCE
    return max(1, min(max_connections, spare // FILES_OF_A_CONNECTION))


class OncePerMinute(logging.Filter):
    """Lets lines that a caller can cause at will pass once a minute, each kind for itself."""

    def __init__(self, beginnings: Sequence[str] = LIMITED_LINES, every_s: float = 60.0) -> None:
        super().__init__()
        self._beginnings = tuple(beginnings)
        self._every_s = every_s
        self._passed_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the record is logged; add how many of its kind were left out before it."""
        for beginning in self._beginnings:
            if str(record.msg).startswith(beginning):
                return self._is_due(beginning, record)
        return True

    def _is_due(self, kind: str, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._passed_at.get(kind, -self._every_s) + self._every_s:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._passed_at[kind] = now
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            record.msg = f"{record.msg} ({left_out} more lines like this were left out)"
        return True


def limit_log() -> None:
    """Bound how much a caller can make this process log."""
    once = OncePerMinute()
    for name in ("asyncio", "uvicorn.error", connection.__name__):
        logging.getLogger(name).addFilter(once)


class ApiServer(uvicorn.Server):
    """Serves an application on one listening socket until SIGINT or SIGTERM.

    `feed`: what streams and waiting requests of the application follow. They end before the
    connections are closed.
    """

    def __init__(
        self, app: ASGIApp, settings: ServicesSettings, feed: ChangeFeed | None = None
    ) -> None:
        self._feed = feed
        files = open_files.raise_limit()
        self.limits = ConnectionLimits(connections_within(settings.max_connections, files))
        if self.limits.connections < settings.max_connections:
            _log.warning(
                "at most %d connections, not the %d of services.max_connections: "
                "the limit of open files is %d",
                self.limits.connections,
                settings.max_connections,
                files,
            )
        config = BoundedConfig(
            app,
            self.limits,
            host=settings.host,
            port=settings.port,
            backlog=ACCEPTED_AT_ONCE,
            # No access log: paths carry labels, and labels may name a case.
            access_log=False,
            log_config=None,
            log_level="warning",  # its lines about its own start and end help nobody
            server_header=False,
            # Who is behind a proxy needs keys; the address of the caller says nothing then.
            proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        super().__init__(config)

    def listen(self) -> socket.socket:
        """Return the listening socket. Connections wait from here on, before the server starts."""
        listener = self.config.bind_socket()
        # asyncio sets TCP_NODELAY only on sockets that it made itself.
        # Without it, answers on a connection that is reused arrive 40 ms late.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.listen(LISTEN_BACKLOG)
        return listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        for listener in sockets or ():
            # asyncio has set it to the number that it accepts at once.
            listener.listen(LISTEN_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: no stream keeps the server waiting."""
        if self._feed is not None:
            self._feed.stop()
        await super().shutdown(sockets)
