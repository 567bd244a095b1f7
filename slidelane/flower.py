"""`python -m slidelane.flower`: Flower, read-only, which keeps asking workers what they consume.

Flower itself asks once, when it starts. Started together with its workers, it would find none of
them and show none of their queues.
"""

import logging
import sys

from broker.log import set_up
from broker.queue.celery_app import app
from broker.settings.config import load

_UPDATE_WORKERS_MS = 5000
_OPTIONS = ("--read_only", "--max_tasks=10000", "--purge_offline_workers=60", "--logging=warning")


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
    set_up(load().broker.log, logging.WARNING)
    # While no worker is there it would warn every few seconds that none has answered.
    logging.getLogger("flower.inspector").setLevel(logging.ERROR)
    flower = Flower(capp=app, options=options, **settings)
    flower.start_http_server()
    PeriodicCallback(flower.update_workers, _UPDATE_WORKERS_MS).start()
    flower.start()


if __name__ == "__main__":
    main()
