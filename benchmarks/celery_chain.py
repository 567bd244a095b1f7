"""The yardstick of the queue: Celery tasks that only enqueue the next one, with defaults.

The last one increments a counter, which shows the end of a round.
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
    """Take the place of fetching a slide."""
    second.apply_async((order,), queue="second")


@app.task(name="chain.second")
def second(order: str) -> None:
    """Take the place of classifying it."""
    third.apply_async((order,), queue="third")


@app.task(name="chain.third")
def third(order: str) -> None:  # noqa: ARG001 - it stands for a delivery
    """Take the place of delivering results."""
    _server().incr(FINISHED)
