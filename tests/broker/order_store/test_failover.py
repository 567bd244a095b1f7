"""Redis behind TLS and behind Sentinels: the record's client and Celery's follow the same URL."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import redis

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import BrokerSettings
from tests.support.orders import a_request
from tests.support.redis_servers import (
    ONCE,
    EnqueueProcess,
    answers,
    certificate,
    server,
    tls_before,
    wait_for,
)

LOADED_S = 90
"""How long a step may take on a machine that is busy with other tests."""
PASSWORD, WORD = "p/w;1", "w@rd"
DURABLE = "appendonly yes\nappendfsync always\nrepl-diskless-sync-delay 0\n"


@dataclass
class SentinelSetup:
    """A master, its replica, a Sentinel that knows them, and the URL that leads there.

    The Sentinel does not act by itself: a master on a busy machine would look dead to it.
    The test tells it when to fail over.
    """

    master: Popen[bytes]
    replica_port: int
    sentinel: Any
    url: str

    def replica(self, database: int) -> Any:
        """One database of the replica: 2 holds the messages, 3 the records."""
        return redis.Redis(port=self.replica_port, password=PASSWORD, db=database)


@pytest.fixture
def sentinel_setup(tmp_path: Path) -> Iterator[SentinelSetup]:
    with ExitStack() as stack:
        locked = f'{DURABLE}requirepass "{PASSWORD}"\nmasterauth "{PASSWORD}"\n'
        master, first = stack.enter_context(server(tmp_path / "1", locked))
        _, second = stack.enter_context(
            server(tmp_path / "2", f"{locked}replicaof 127.0.0.1 {first}\n")
        )
        watch = (
            f'requirepass "{WORD}"\nsentinel monitor lab 127.0.0.1 {first} 1\nsentinel auth-pass lab "{PASSWORD}"\n'
            "sentinel down-after-milliseconds lab 600000\nsentinel failover-timeout lab 3000\n"
        )
        replica = stack.enter_context(redis.Redis(port=second, password=PASSWORD, retry=ONCE))
        wait_for(
            lambda: answers(replica) and replica.info("replication")["master_link_status"] == "up",
            LOADED_S,
        )
        _, sentinel = stack.enter_context(server(tmp_path / "3", watch, "--sentinel"))
        watcher = stack.enter_context(redis.Redis(port=sentinel, password=WORD, retry=ONCE))
        wait_for(
            lambda: answers(watcher) and watcher.sentinel_master("lab")["num-slaves"] == 1, LOADED_S
        )
        # the first Sentinel named does not exist: the next one is asked
        url = (
            f"sentinel://:p%2Fw%3B1@127.0.0.1:1,127.0.0.1:{sentinel}/lab/2?sentinel_password=w%40rd"
        )
        yield SentinelSetup(master, second, watcher, url)


def test_a_failover_is_followed_by_the_records_and_by_celery(
    sentinel_setup: SentinelSetup, tmp_path: Path
) -> None:
    """The master is killed; on the promoted replica both go on, over the connections they had."""
    store = OrderStore.connect(BrokerSettings(redis_url=sentinel_setup.url, data=tmp_path))
    with (
        EnqueueProcess(sentinel_setup.url) as enqueuer,
        sentinel_setup.replica(2) as messages,
        sentinel_setup.replica(3) as records,
    ):
        # An order, because a heartbeat is forgotten after 15 s, and a failover may take longer.
        before = store.create(a_request(), queue="gpu").order_id
        wait_for(
            lambda: (
                enqueuer.enqueue("a.0")
                and messages.llen("fetch")
                and records.exists(f"sl:order:{before}")
            ),
            LOADED_S,
        )
        sentinel_setup.master.kill()
        with pytest.raises(TemporaryError) as error:
            store.present("between", [])
        assert error.value.code == "store_unreachable"
        sent = messages.llen("fetch")
        wait_for(lambda: fails_over(sentinel_setup.sentinel), LOADED_S)
        wait_for(lambda: works(store), LOADED_S)
        assert [order.id for order in store.find().orders] == [before]
        wait_for(lambda: enqueuer.enqueue("b.0") < 4 and messages.llen("fetch") > sent, LOADED_S)


def fails_over(sentinel: Any) -> bool:
    """Return whether the Sentinel has begun: a replica that was slow to answer is not promoted."""
    try:
        sentinel.sentinel_failover("lab")
    except redis.ResponseError:
        return False
    return True


def works(store: OrderStore) -> bool:
    try:
        store.present("after", [])
    except TemporaryError:
        return False
    return True


def test_tls_is_checked_by_both_clients(tmp_path: Path) -> None:
    """Through the authority that signed the server both arrive; with another one neither says a
    word."""
    (tmp_path / "other").mkdir()
    pem, key = certificate(tmp_path)
    other, _ = certificate(tmp_path / "other")
    with (
        server(tmp_path / "1", f'{DURABLE}requirepass "{PASSWORD}"\n') as (_, port),
        tls_before(port, pem, key) as safe,
    ):
        url = f"rediss://:p%2Fw%3B1@127.0.0.1:{safe}/0?ssl_cert_reqs=required&ssl_ca_certs="
        with (
            redis.Redis(port=port, password=PASSWORD, retry=ONCE) as plain,
            EnqueueProcess(url + str(pem)) as known,
        ):
            wait_for(lambda: answers(plain))
            RedisClient(RedisUrl.at(url + str(pem))).records.set("here", 1)
            known.enqueue("a.0")
            assert plain.llen("fetch") == 1
            with pytest.raises(TemporaryError, match="does not answer"):
                RedisClient(RedisUrl.at(url + str(other))).queue_lengths()
            with EnqueueProcess(url + str(other)) as stranger:
                stranger.enqueue("b.0")
            assert plain.llen("fetch") == 1
