"""`python -m services`: the API in one process, on the host and port of the settings."""

import logging
import socket
import sys

import uvicorn

from broker import log
from broker.order_store import OrderStore
from broker.settings.config import ConfigError, load, warn_of_old_names
from services.app import create_app

SHUTDOWN_S = 10
_log = logging.getLogger("services")


def main() -> None:
    """Serve until told to stop. A setting that cannot work ends it with a message."""
    try:
        config = load()
        app = create_app(config, OrderStore.connect(config.broker))
    except ConfigError as error:
        sys.exit(str(error))
    log.set_up(config.broker.log)
    warn_of_old_names()
    # No access log: paths carry labels, and labels may name a case.
    served = uvicorn.Config(
        app,
        host=config.services.host,
        port=config.services.port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    listener = served.bind_socket()
    # asyncio says this only to sockets made otherwise; without it, answers on a kept connection come 40 ms late
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.listen(served.backlog)  # from here on nobody is turned away
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    keys = "" if config.services.keys else " (no services.keys: loopback only)"
    _say(f"Slidelane listens on http://{shown}:{port}{keys}", config.broker.log)
    uvicorn.Server(served).run(sockets=[listener])


def _say(text: str, form: log.Form) -> None:
    """To whoever has just started it; where lines are read by a program it is one of them."""
    if form == "json":
        _log.info(text)
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
