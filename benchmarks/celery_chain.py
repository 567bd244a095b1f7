"""The yardstick of the queue: three Celery tasks that do nothing but ring the next one, with Celery's own settings.

The last one counts, so that the end of a round can be seen.
"""

import os
from functools import cache
from typing import Any

import redis
from celery import Celery

FINISHED = "finished"
app = Celery("chain")
app.conf.task_ignore_result = True


@cache
def _server() -> Any:
    return redis.Redis.from_url(os.environ["CELERY_BROKER_URL"])


@app.task(name="chain.first")
def first(order: str) -> None:
    """Where a slide is fetched."""
    second.apply_async((order,), queue="second")


@app.task(name="chain.second")
def second(order: str) -> None:
    """Where it is classified."""
    third.apply_async((order,), queue="third")


@app.task(name="chain.third")
def third(order: str) -> None:  # noqa: ARG001 - it stands for a delivery
    """Where results are delivered."""
    _server().incr(FINISHED)
