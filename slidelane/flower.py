"""`python -m slidelane.flower`: Flower, read-only, which keeps asking workers what they consume.

Flower itself asks once, when it starts. Started together with its workers, it would find none of
them and show none of their queues. It also answers `/metrics` and `/healthcheck` to anybody; here
they are behind its password. Without a password it listens on loopback alone, for requests that
name this machine.
"""

import logging
import signal
import sys
import time
from threading import Thread
from typing import Any

from flower.app import Flower, rewrite_handler
from flower.command import apply_env_options, apply_options, extract_settings, setup_logging
from flower.options import options
from flower.urls import settings
from flower.views import BaseHandler
from flower.views.monitor import Healthcheck, Metrics
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import PeriodicCallback
from tornado.options import define
from tornado.web import authenticated

from broker.errors import TemporaryError
from broker.log import REDIS_IS_BACK, set_up
from broker.order_store import OrderStore
from broker.queue.celery_app import app
from broker.settings.config import LOOPBACK, BrokerSettings, load

_UPDATE_WORKERS_MS = 5000
_WATCH_S = 5.0
_DEFAULTS = {
    "address": "127.0.0.1",
    "max_tasks": 10000,
    "purge_offline_workers": 60,
    "tasks_columns": "name,uuid,state,result,exception,received,started,runtime,worker",
}
_OPTIONS = ("--read_only", "--logging=warning")
_log = logging.getLogger("slidelane.flower")


class _Metrics(Metrics):  # type: ignore[misc]
    """Flower's metrics, behind its password."""

    @authenticated
    async def get(self) -> None:
        """Answer with the metrics for Prometheus."""
        await super().get()


class _Healthcheck(Healthcheck):  # type: ignore[misc]
    """Flower's health check, behind its password."""

    @authenticated
    async def get(self) -> None:
        """Answer that Flower lives."""
        await super().get()


class _HostRefused(BaseHandler):  # type: ignore[misc]
    """Answers a request that names another host."""

    def prepare(self) -> None:
        """Answer 403 to every method."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "Without a password, Flower answers only requests that name this machine.\n"
            "Ask 127.0.0.1, name the host in --host_names, or set --basic_auth.\n"
        )


class _Flower(Flower):  # type: ignore[misc]
    """Flower, which looks at the Host of every request while it has no password.

    A web page can let its own host name resolve to 127.0.0.1 (DNS rebinding). Only the Host header
    shows that.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        handlers = [(r"/metrics", _Metrics), (r"/healthcheck", _Healthcheck)]
        if self.options.url_prefix:
            handlers = [rewrite_handler(one, self.options.url_prefix) for one in handlers]
        # these are looked up before Flower's own
        self.add_handlers(r".*$", handlers)
        self._hosts = LOOPBACK | {name.lower() for name in self.options.host_names}

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what answers this request."""
        host = request.host_name.strip("[]")
        if not _has_password() and host not in self._hosts:
            return self.get_handler_delegate(request, _HostRefused)
        return super().find_handler(request, **kwargs)


def main() -> None:
    """Run Flower with its own options and variables until SIGINT or SIGTERM."""
    define("host_names", type=str, multiple=True, help="hosts that requests may name")
    for name, value in _DEFAULTS.items():
        setattr(options, name, value)
    apply_env_options()
    apply_options("flower", [*_OPTIONS, *sys.argv[1:]])
    _check_address()
    extract_settings()
    setup_logging()
    config = load()
    set_up(config.broker.log, logging.WARNING)
    _log.setLevel(logging.INFO)
    # While no worker is there it would warn every few seconds that none has answered.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    flower = _Flower(capp=app, options=options, **settings)
    Thread(target=_watch_redis, args=(config.broker,), name="watch", daemon=True).start()
    flower.start_http_server()
    PeriodicCallback(flower.update_workers, _UPDATE_WORKERS_MS).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        # with --persistent, Flower writes its list when it is stopped
        signal.signal(number, lambda *_: flower.io_loop.add_callback_from_signal(flower.stop))
    flower.start()


def _watch_redis(settings: BrokerSettings) -> None:
    """Tell when Redis is away and when it is back; Flower itself tells only the former."""
    store = OrderStore.connect(settings)
    is_away = False
    while True:
        try:
            store.ping()
        except TemporaryError as error:
            is_away = True
            _log.warning("Flower waits: %s", error.detail, extra={"code": error.code})
        else:
            if is_away:
                _log.info(REDIS_IS_BACK)
            is_away = False
        time.sleep(_WATCH_S)


def _has_password() -> bool:
    return bool(options.basic_auth or options.auth)


def _check_address() -> None:
    """End with a message where Flower would show the tasks to a network without a password."""
    if options.unix_socket or options.address in LOOPBACK or _has_password():
        return
    sys.exit(
        f"slidelane: Flower on {options.address or 'all addresses'} needs a password: set "
        "FLOWER_BASIC_AUTH=USER:PASSWORD, or --address=127.0.0.1"
    )


if __name__ == "__main__":
    main()
