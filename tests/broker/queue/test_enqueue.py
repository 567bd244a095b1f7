"""Enqueueing while Celery's Redis is frozen, killed or gone: no call waits long, and it
recovers."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.redis_url import embedded_url
from broker.settings.config import BrokerSettings
from tests.support.redis_servers import EnqueueProcess, wait_for

LONGEST_ENQUEUE_S = 4


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that only this test knows."""
    with EmbeddedRedis(BrokerSettings(data=tmp_path)) as embedded:
        yield embedded
        freeze(embedded, signal.SIGCONT)


@pytest.fixture
def enqueuer(own: EmbeddedRedis, tmp_path: Path) -> Iterator[EnqueueProcess]:
    with EnqueueProcess(embedded_url(tmp_path)) as enqueuer:
        yield enqueuer


@pytest.fixture
def queue(own: EmbeddedRedis, tmp_path: Path) -> Iterator[redis.Redis]:
    """Celery's database."""
    with redis.Redis.from_url(embedded_url(tmp_path)) as client:
        yield client


def freeze(own: EmbeddedRedis, number: int = signal.SIGSTOP) -> None:
    assert own.process
    own.process.send_signal(number)


def test_a_frozen_redis_holds_no_caller_up(
    own: EmbeddedRedis, enqueuer: EnqueueProcess, queue: redis.Redis
) -> None:
    """Neither a first caller nor one with an open connection; afterwards messages arrive again."""
    freeze(own)
    assert enqueuer.enqueue("a.0") < LONGEST_ENQUEUE_S
    freeze(own, signal.SIGCONT)
    enqueuer.enqueue("b.0", "b.1", "b.2")
    assert queue.llen("fetch") >= 3
    freeze(own)
    assert enqueuer.enqueue("c.0") < LONGEST_ENQUEUE_S
    freeze(own, signal.SIGCONT)


def test_after_a_restart_of_redis_messages_arrive_again(
    own: EmbeddedRedis, enqueuer: EnqueueProcess, queue: redis.Redis
) -> None:
    """One message over an old connection may be lost; the next one opens a new connection."""
    enqueuer.enqueue("a.0")
    assert own.process
    own.process.kill()
    own.process.wait()
    assert enqueuer.enqueue("b.0") < LONGEST_ENQUEUE_S
    own.start()
    before = queue.llen("fetch")
    enqueuer.enqueue("c.0")
    enqueuer.enqueue("d.0")
    assert queue.llen("fetch") > before


def test_threads_that_enqueue_on_a_frozen_redis_do_not_wait_for_each_other(
    own: EmbeddedRedis, enqueuer: EnqueueProcess
) -> None:
    """Forty threads, as many as the API has, are all through in the time of a few."""
    freeze(own)
    assert enqueuer.enqueue("a.0", threads=12) < 2 * LONGEST_ENQUEUE_S
    freeze(own, signal.SIGCONT)


def test_threads_that_enqueue_at_once_lose_no_message(
    enqueuer: EnqueueProcess, queue: redis.Redis
) -> None:
    """More of them than lines, each with all the scans of an order: every message is there,
    once."""
    enqueuer.enqueue(*(f"a.{n}" for n in range(8)), threads=12)
    assert queue.llen("fetch") == 12 * 8


def test_a_full_redis_fails_no_enqueueing(enqueuer: EnqueueProcess, queue: redis.Redis) -> None:
    """The message is dropped, the caller goes on; the scheduler sends it when there is room."""
    queue.config_set("maxmemory", 1)
    assert enqueuer.enqueue("a.0") < LONGEST_ENQUEUE_S
    queue.config_set("maxmemory", 0)
    enqueuer.enqueue("b.0")
    wait_for(lambda: queue.llen("fetch"))
