"""`python -m slidelane.flower`: Flower, which changes nothing and goes on asking the workers what they consume.

Flower itself asks once, when it starts. Started beside its workers it would find nobody and show no queue of theirs.
"""

import logging
import sys

from broker.log import set_up
from broker.queue.celery_app import app
from broker.settings.config import load

_ASK_EVERY_MS = 5000
_HOUSE = ("--read_only", "--max_tasks=10000", "--purge_offline_workers=60", "--logging=warning")


def main() -> None:
    """Run Flower with its own options and variables until told to stop."""
    from flower.app import Flower
    from flower.command import apply_env_options, apply_options, extract_settings, setup_logging
    from flower.options import options
    from flower.urls import settings
    from tornado.ioloop import PeriodicCallback

    apply_env_options()
    apply_options("flower", [*_HOUSE, *sys.argv[1:]])
    extract_settings()
    setup_logging()
    set_up(load().broker.log, logging.WARNING)
    window = Flower(capp=app, options=options, **settings)
    window.start_http_server()
    PeriodicCallback(window.update_workers, _ASK_EVERY_MS).start()
    window.start()


if __name__ == "__main__":
    main()
