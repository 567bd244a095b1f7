"""`python -m slidelane.flower`: Flower, read-only, which keeps asking workers what they consume.

Flower itself asks once, when it starts. Started together with its workers, it would find none of
them and show none of their queues.
"""

import logging
import sys
import time
from threading import Thread

from broker.errors import TemporaryError
from broker.log import REDIS_IS_BACK, set_up
from broker.order_store import OrderStore
from broker.queue.celery_app import app
from broker.settings.config import BrokerSettings, load

_UPDATE_WORKERS_MS = 5000
_WATCH_S = 5.0
_OPTIONS = ("--read_only", "--max_tasks=10000", "--purge_offline_workers=60", "--logging=warning")
_log = logging.getLogger("slidelane.flower")


def main() -> None:
    """Run Flower with its own options and variables until SIGINT or SIGTERM."""
    from flower.app import Flower
    from flower.command import apply_env_options, apply_options, extract_settings, setup_logging
    from flower.options import options
    from flower.urls import settings
    from tornado.ioloop import PeriodicCallback

    apply_env_options()
    apply_options("flower", [*_OPTIONS, *sys.argv[1:]])
    extract_settings()
    setup_logging()
    config = load()
    set_up(config.broker.log, logging.WARNING)
    _log.setLevel(logging.INFO)
    # While no worker is there it would warn every few seconds that none has answered.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    flower = Flower(capp=app, options=options, **settings)
    Thread(target=_watch_redis, args=(config.broker,), name="watch", daemon=True).start()
    flower.start_http_server()
    PeriodicCallback(flower.update_workers, _UPDATE_WORKERS_MS).start()
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


if __name__ == "__main__":
    main()
