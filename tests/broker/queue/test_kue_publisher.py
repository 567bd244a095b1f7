"""What old listeners hear on `q:events` and read in `q:job:…`, whoever publishes and dies."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from broker.errors import Problem, TemporaryError
from broker.order_store import Creator, OrderStore
from broker.order_store.kue import KueListeners, KueSent
from broker.order_store.redis_url import RedisUrl
from broker.queue.kue_publisher import KuePublisher, kue_publisher
from broker.settings.config import BrokerSettings, Config, ConfigError, load
from tests.support.orders import a_request, classify, deliver, taken
from tests.support.pages import read
from tests.support.redis_servers import answers, server, wait_for

FAULT = Problem("not_a_slide", "it is a text", "look at it", blame="input")


class Listener:
    """A listener as DynamicServices is one: a subscription, and reads of hashes."""

    def __init__(self, url: str) -> None:
        self.redis: Any = redis.Redis.from_url(url, decode_responses=True)
        self._channel = self.redis.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("q:events")
        self._channel.get_message(timeout=5)

    def heard(self) -> list[Any]:
        """Return what was published since the last call."""
        messages = []
        while True:
            message = self._channel.get_message(timeout=0.2)
            if message is None:
                return messages
            messages.append(json.loads(message["data"]))

    def job(self, number: int) -> dict[str, str]:
        """Return the hash of a job."""
        return dict(self.redis.hgetall(f"q:job:{number}"))


@pytest.fixture
def listener(redis_url: str, broker_settings: BrokerSettings) -> Iterator[Listener]:
    listener = Listener(redis_url)
    yield listener
    listener.redis.close()


def publisher(store: OrderStore, redis_url: str, name: str = "courier-1@here") -> KuePublisher:
    return KuePublisher(store, KueListeners(RedisUrl.at(redis_url), 1000), name)


def ordered(store: OrderStore) -> tuple[int, str]:
    """Return the number and the order of a new job."""
    number = store.kue.next_number()
    sent = KueSent("analysisJob", {"title": "a"}, priority=-10, attempts=2, is_told=True)
    creator = Creator("kue", None, store.kue.new_job(number, sent))
    return number, store.create(a_request(), queue="gpu", creator=creator).order_id


def steps(one: KuePublisher, count: int = 4) -> None:
    """Let a publisher look often enough to see progress too."""
    for _ in range(count):
        one.step()


def test_a_good_job_as_it_is_heard(store: OrderStore, redis_url: str, listener: Listener) -> None:
    """Enqueue, start, progress, complete; the hash is written before each message."""
    one = publisher(store, redis_url)
    number, order_id = ordered(store)
    steps(one)
    classify(store, order_id)
    steps(one)
    store.finish(taken(store, order_id, "deliver"), "delivered")
    steps(one)
    result = {"order": order_id, "scans": [{"id": "0", "summary": {}}]}
    data = {"order": order_id, "stage": "deliver", "eta_s": None}
    assert listener.heard() == [
        {"id": number, "event": "enqueue", "args": ["enqueue", "analysisJob"]},
        {"id": number, "event": "start", "args": ["start", "analysisJob", None]},
        {"id": number, "event": "progress", "args": ["progress", 95, data]},
        {"id": number, "event": "complete", "args": ["complete", result, None]},
    ]
    job = listener.job(number)
    assert (job["state"], job["type"], job["progress"]) == ("complete", "analysisJob", "100")
    assert (job["priority"], job["max_attempts"], job["attempts"]) == ("-10", "2", "1")
    assert json.loads(job["data"]) == {"title": "a"}
    assert json.loads(job["result"]) == result
    assert 900 < listener.redis.ttl(f"q:job:{number}") <= 1000
    store.delete(order_id)
    steps(one)
    assert listener.heard() == [
        {"id": number, "event": "remove", "args": ["remove", "analysisJob"]}
    ]
    assert listener.job(number) == {}


def test_a_failed_job_as_it_is_heard(store: OrderStore, redis_url: str, listener: Listener) -> None:
    """The message of `error` has more lines; `failed` has the first."""
    number, order_id = ordered(store)
    store.finish(taken(store, f"{order_id}.0", "fetch"), "failed", problem=FAULT)
    steps(publisher(store, redis_url))
    message = "not_a_slide: it is a text"
    assert [one["args"] for one in listener.heard()] == [
        ["enqueue", "analysisJob"],
        ["start", "analysisJob", None],
        ["error", f"{message}\nhint: look at it"],
        ["failed", message, None],
    ]
    assert listener.job(number)["error"].startswith(message)
    assert listener.job(number)["failed_at"]


def test_a_publisher_that_is_lost_is_replaced(
    store: OrderStore, redis_url: str, listener: Listener
) -> None:
    """One leads, the others wait. When it is gone, another goes on behind its last message."""
    first = publisher(store, redis_url)
    second = publisher(store, redis_url, "courier-2@there")
    _, order_id = ordered(store)
    first.step()
    deliver(store, order_id)
    second.step()
    assert [one["event"] for one in listener.heard()] == ["enqueue"]
    store._client.records.delete("sl:kue:publisher")  # its time is over
    second.step()
    assert [one["event"] for one in listener.heard()] == ["start", "complete"]
    first.step()
    assert listener.heard() == []
    assert store._client.records.xlen("sl:kue:events") <= 1


def test_listeners_that_were_away_miss_nothing_that_is_published_later(
    store: OrderStore, redis_url: str, listener: Listener
) -> None:
    """While the Redis of the listeners is away, events wait; the record is not held up."""
    away = KuePublisher(
        store, KueListeners(RedisUrl.at("redis://127.0.0.1:1/0"), 1000), "courier-1@here"
    )
    _, order_id = ordered(store)
    deliver(store, order_id)
    with pytest.raises(TemporaryError):
        away.step()
    publisher(store, redis_url).step()
    assert [one["event"] for one in listener.heard()] == ["enqueue", "start", "complete"]


def test_progress_is_heard_once_for_each_percent(
    store: OrderStore, redis_url: str, listener: Listener
) -> None:
    """Whole percents, and none twice."""
    one = publisher(store, redis_url)
    number, order_id = ordered(store)
    claim = taken(store, f"{order_id}.0", "fetch")
    for done in (0, 300, 301, 600):
        store.renew(claim, {"stage": "fetching", "done": done, "total": 1000, "eta_s": 1.0})
        steps(one)
    percents = [heard["args"][1] for heard in listener.heard() if heard["event"] == "progress"]
    assert percents == [2, 5]
    assert listener.job(number)["progress"] == "5"


def test_the_settings_say_whether_and_where(config_with: Any) -> None:
    """Nothing is published unless it is switched on; by default where the orders are."""
    config = config_with()
    store = OrderStore.connect(config.broker)
    assert kue_publisher(config, store, "n") is None
    assert kue_publisher(config_with(publish_events=True), store, "n") is not None
    with pytest.raises(ConfigError):
        kue_publisher(
            config_with(publish_events=True, events_url="redis://jobs:6379/x"), store, "n"
        )


@pytest.fixture
def config_with(broker_settings: BrokerSettings) -> Any:
    """Settings with these of `services.kue`."""

    def make(**kue: Any) -> Config:
        return load(broker=broker_settings.model_dump(), services={"kue": kue})

    return make


def rules_of_the_page() -> str:
    """Return what docs/redis.md grants a user of the Redis of listeners."""
    (rules,) = re.findall(r"needs\n`(~q:job.*?)`", read("docs/redis.md"))
    return str(rules)


def test_the_user_of_the_page_may_all_that_is_done(store: OrderStore, tmp_path: Path) -> None:
    """And nothing else: it writes jobs and publishes with these rules alone."""
    rules = rules_of_the_page().split()
    with server(tmp_path / "listeners", "requirepass admin\n") as (_, port):
        admin = redis.Redis(port=port, password="admin")
        assert wait_for(lambda: answers(admin))
        admin.execute_command("ACL", "SETUSER", "kue", "on", ">told", *rules)
        number, order_id = ordered(store)
        steps(publisher(store, f"redis://kue:told@127.0.0.1:{port}/0"))
        assert admin.hget(f"q:job:{number}", "type") == b"analysisJob"
        deliver(store, order_id)
        store.delete(order_id)
        steps(publisher(store, f"redis://kue:told@127.0.0.1:{port}/0"))
        assert admin.dbsize() == 0
        admin.close()
