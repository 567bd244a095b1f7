"""`python -m services`: the API in one process, on the host and port of the settings."""

import logging
import os
import socket
import sys
from contextlib import suppress

import uvicorn

from broker import log
from broker.order_store import OrderStore
from broker.settings.config import ConfigError, load, warn_of_old_names
from services.app import create_app

SHUTDOWN_S = 10
_log = logging.getLogger("services")


def main() -> None:
    """Serve until SIGINT or SIGTERM. Exit with a message where a setting cannot work."""
    try:
        config = load()
        app = create_app(config, OrderStore.connect(config.broker))
    except ConfigError as error:
        sys.exit(str(error))
    log.set_up(config.broker.log)
    warn_of_old_names()
    # No access log: paths carry labels, and labels may name a case.
    server_config = uvicorn.Config(
        app,
        host=config.services.host,
        port=config.services.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    listener = server_config.bind_socket()
    # asyncio sets TCP_NODELAY only on sockets that it made itself.
    # Without it, answers on a connection that is reused arrive 40 ms late.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Connections are accepted from here on, before uvicorn itself has started.
    listener.listen(server_config.backlog)
    host, port = listener.getsockname()[:2]
    if ":" in host:
        host = f"[{host}]"
    text = f"Slidelane listens on http://{host}:{port}"
    if not config.services.keys:
        text += " (no services.keys: loopback only)"
    _announce(text, config.broker.log)
    uvicorn.Server(server_config).run(sockets=[listener])


def _announce(text: str, form: log.Form) -> None:
    """Write the line to stdout, or as a log record where a program reads the log."""
    if form == "json":
        _log.info(text)
        return
    with suppress(OSError):  # its disk may be full, its terminal gone
        os.write(sys.stdout.fileno(), f"{text}\n".encode())


if __name__ == "__main__":
    main()
