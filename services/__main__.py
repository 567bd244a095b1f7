"""`python -m services`: the API in one process, on the host and port of the settings."""

import logging
import os
import sys
from contextlib import suppress
from threading import Event, Thread

from broker import log
from broker.data_folder import openness, restrict_new_files
from broker.order_store import OrderStore
from broker.settings.config import Config, ConfigError, load, warn_of_old_names
from services.app import create_app
from services.policies.arrivals import ArrivalPlacer
from services.policies.check import warn_of_faults
from services.server import ApiServer, limit_log

_log = logging.getLogger("services")


def main() -> None:
    """Serve until SIGINT or SIGTERM. Exit with a message where a setting cannot work."""
    try:
        config = load()
        store = OrderStore.connect(config.broker)
        app = create_app(config, store)
    except ConfigError as error:
        sys.exit(str(error))
    log.set_up(config.broker.log)
    warn_of_old_names()
    restrict_new_files(config.broker.folders)
    open_folder = openness(config.broker.data)
    if open_folder:
        _log.warning("%s", open_folder)
    limit_log()
    server = ApiServer(app, config.services, app.state.feed)
    listener = server.listen()
    host, port = listener.getsockname()[:2]
    if ":" in host:
        host = f"[{host}]"
    text = f"Slidelane listens on http://{host}:{port}"
    if not config.services.keys and config.services.keys_file is None:
        text += " (no services.keys: loopback only)"
    _announce(text, config.broker.log)
    _order_by_policies(config, store)
    server.run(sockets=[listener])


def _order_by_policies(config: Config, store: OrderStore) -> None:
    """Start what places orders by policies, and what says whether they could be placed."""
    services = config.services
    never = Event()
    if services.policies or services.templates:
        arguments = (config, store, never)
        Thread(target=warn_of_faults, args=arguments, name="policy-check", daemon=True).start()
    if services.policies:
        placer = ArrivalPlacer(config, store)
        Thread(target=placer.run, args=(never,), name="policies", daemon=True).start()


def _announce(text: str, form: log.Form) -> None:
    """Write the line to stdout, or as a log record where a program reads the log."""
    if form == "json":
        _log.info(text)
        return
    with suppress(OSError):  # its disk may be full, its terminal gone
        os.write(sys.stdout.fileno(), f"{text}\n".encode())


if __name__ == "__main__":
    main()
