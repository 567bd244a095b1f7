"""Redis killed, frozen, full, demoted, loading: calls end in time, and nothing is half-written."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from broker.errors import TemporaryError
from broker.order_store import OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis, find_server
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl, embedded_url
from broker.orders.order import OrderState, ScanState
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from tests.support.redis_servers import wait_for

LONGEST_CALL_S = 8


def an_order() -> OrderRequest:
    scans = [{"id": "1", "source": {"type": "path", "path": "/slides/a.svs"}}]
    return OrderRequest.model_validate({"algorithm": "grid", "scans": scans}, strict=False)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that only this test knows."""
    with EmbeddedRedis(BrokerSettings(data=tmp_path)) as embedded:
        yield embedded


@pytest.fixture
def store(own: EmbeddedRedis, tmp_path: Path) -> OrderStore:
    return OrderStore.connect(BrokerSettings(data=tmp_path))


@pytest.fixture
def records(own: EmbeddedRedis, tmp_path: Path) -> Any:
    return RedisClient(RedisUrl.at(embedded_url(tmp_path))).records


def send_signal(own: EmbeddedRedis, number: int) -> None:
    assert own.process
    own.process.send_signal(number)
    if number == signal.SIGKILL:
        own.process.wait()


def unreachable(call: Callable[[], object], says: str | None = None) -> None:
    """It ends in time, as something worth another try."""
    began = time.monotonic()
    with pytest.raises(TemporaryError, match=says) as error:
        call()
    assert time.monotonic() - began < LONGEST_CALL_S
    assert (error.value.code, error.value.retry_after_s) == ("store_unreachable", 5)


def test_a_killed_redis_comes_back_with_every_order_and_no_script(
    own: EmbeddedRedis, store: OrderStore
) -> None:
    """Its script cache is empty then; each script is loaded again by the call that misses it."""
    order_id = store.create(an_order(), queue="gpu").order_id
    send_signal(own, signal.SIGKILL)
    unreachable(lambda: store.create(an_order(), queue="gpu"))
    unreachable(lambda: store.get(order_id))
    own.start()
    claim = store.claim(f"{order_id}.0", "fetch", "w")
    assert claim
    store.finish(claim, "staged")
    assert store.get(order_id).scans[0].state == ScanState.STAGED


def test_a_frozen_redis_ends_every_call_in_time_and_doubles_nothing(
    own: EmbeddedRedis, store: OrderStore
) -> None:
    """Afterwards it runs what it was sent, even twice; a repeated call finds the one order."""

    def create() -> str:
        return store.create(an_order(), queue="gpu", key="k", fingerprint="f").order_id

    send_signal(own, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(unreachable, [create, store.due, store.ping, store.workers]))
    finally:
        send_signal(own, signal.SIGCONT)
    assert store.get(create()).state == OrderState.QUEUED
    assert store.counts()["queued"] == 1


def test_the_last_quarter_of_memory_is_for_orders_that_are_kept_already(
    store: OrderStore, records: Any
) -> None:
    """A new order is refused before Redis is full; what is accepted runs to its end."""
    order_id = store.create(an_order(), queue="gpu", key="k", fingerprint="f").order_id
    records.config_set("maxmemory", int(records.info("memory")["used_memory"] / 0.8))
    with pytest.raises(TemporaryError, match=r"8\d % full") as refused:
        store.create(an_order(), queue="gpu", key="other")
    assert refused.value.code == "too_many_waiting"
    assert store.counts()["queued"] == 1
    assert store.create(an_order(), queue="gpu", key="k", fingerprint="f").order_id == order_id
    for stage, to in (("fetch", "staged"), ("classify", "classified"), ("deliver", "delivered")):
        claim = store.claim(order_id if stage == "deliver" else f"{order_id}.0", stage, "w")  # type: ignore[arg-type]
        assert claim
        assert store.renew(claim, {"done": 1}) == "ok"
        store.finish(claim, to)
    assert store.get(order_id).state == OrderState.DELIVERED


def test_a_full_redis_writes_nothing_by_halves(store: OrderStore, records: Any) -> None:
    """A refused script leaves no trace, and the work goes on where it was once there is room."""
    order_id = store.create(an_order(), queue="gpu").order_id
    claim = store.claim(f"{order_id}.0", "fetch", "w")
    assert claim
    before = store.get(order_id)
    records.config_set("maxmemory", 1)
    unreachable(lambda: store.finish(claim, "staged", {"slide": {}}), "no memory left")
    unreachable(lambda: store.present("w", ["fetch"]), "no memory left")
    assert store.get(order_id) == before
    records.config_set("maxmemory", 0)
    store.finish(claim, "staged")
    assert store.get(order_id).scans[0].state == ScanState.STAGED


@pytest.mark.parametrize(
    ("into", "out_of", "says"),
    [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"], "a replica"),
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
            "too few",
        ),
        (
            ["ACL", "SETUSER", "default", "-evalsha"],
            ["ACL", "SETUSER", "default", "+evalsha"],
            "access list",
        ),
    ],
)
def test_a_state_of_the_server_is_worth_another_try(
    store: OrderStore, records: Any, into: list[str], out_of: list[str], says: str
) -> None:
    """Demoted, without replicas, or forbidding a command: no fault of the order, and it passes."""
    records.execute_command(*into)
    unreachable(lambda: store.create(an_order(), queue="gpu"), says)
    records.execute_command(*out_of)
    assert store.get(store.create(an_order(), queue="gpu").order_id).state == OrderState.QUEUED


def test_a_busy_redis_is_worth_another_try(store: OrderStore, records: Any) -> None:
    """Somebody else's endless script keeps it from answering anything else."""
    records.config_set("lua-time-limit", 50)
    killer = records.client()  # its line is open before: a busy Redis 6.2 greets nobody
    stuck = threading.Thread(target=_ask_for_ever, args=[records])
    stuck.start()
    wait_for(lambda: _refusal(store).endswith("long script"))
    killer.script_kill()
    stuck.join()
    store.ping()


def _ask_for_ever(records: Any) -> None:
    with pytest.raises(redis.RedisError):
        records.eval("while true do end", 0)


def test_a_redis_that_reads_its_file_is_worth_another_try(
    own: EmbeddedRedis, store: OrderStore, tmp_path: Path
) -> None:
    """After a start it answers at once, but nothing useful until everything is in memory again."""
    with redis.Redis.from_url(embedded_url(tmp_path)) as client:
        client.config_set("rdbcompression", "no")
        client.mset({f"key:{number}": "x" * 300_000 for number in range(100)})
        client.bgrewriteaof()
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    send_signal(own, signal.SIGKILL)
    slowly = ["--key-load-delay", "20000"]  # microseconds; it looks at its callers after each 2 MB
    own.process = subprocess.Popen([find_server(), tmp_path / "redis" / "redis.conf", *slowly])
    wait_for(lambda: "still reading" in _refusal(store))
    wait_for(lambda: _refusal(store) == "")


def _refusal(store: OrderStore) -> str:
    try:
        store.ping()
    except TemporaryError as error:
        return error.detail
    return ""


def test_a_wrong_password_is_told_without_it(own: EmbeddedRedis, tmp_path: Path) -> None:
    """The message names the setting to mend."""
    wrong = embedded_url(tmp_path).replace("redis://:", "redis://:wrong")
    with pytest.raises(TemporaryError, match=r"password of broker\.redis_url") as error:
        RedisClient(RedisUrl.at(wrong)).queue_lengths()
    assert "wrong" not in str(error.value)
    assert error.value.__suppress_context__


def test_a_fault_of_ours_is_not_called_unreachable(store: OrderStore, records: Any) -> None:
    """A wrong command fails alike however often it is tried: it stays an error of its own."""
    records.set("sl:due", "not a sorted set")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        store.due()
