"""The names of Redis' keys: stated once, and never changed, for data of older versions is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.order_store.embedded_redis import EmbeddedRedis
from broker.order_store.keys import Key
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.settings.config import BrokerSettings
from tests.support.paths import ROOT

NAMES = {
    "ORDER": "sl:order:",
    "SCAN": "sl:scan:",
    "ATTEMPTS": "sl:attempts:",
    "LOG": "sl:log:",
    "ORDERS": "sl:orders",
    "ORDERS_BY_STATE": "sl:orders:state:",
    "ORDERS_BY_ALGORITHM": "sl:orders:algorithm:",
    "ORDERS_BY_LABEL": "sl:orders:label:",
    "ORDERS_BY_CREATOR": "sl:orders:creator:",
    "QUEUED_BY_CREATOR": "sl:queued:",
    "ORDER_NUMBER": "sl:number",
    "ENDED": "sl:ended",
    "DELETED": "sl:deleted",
    "DUE": "sl:due",
    "QUEUES": "sl:queues",
    "WAITING": "sl:waiting:",
    "HELD": "sl:held:",
    "CHANGES": "sl:changes",
    "SESSION": "sl:session:",
    "IDEMPOTENCY": "sl:key:",
    "KUE_JOB": "sl:kue:job:",
    "KUE_NUMBER": "sl:kue:number",
    "KUE_JOBS": "sl:kue:jobs",
    "KUE_JOBS_BY_STATE": "sl:kue:jobs:state:",
    "KUE_JOBS_BY_TYPE": "sl:kue:jobs:type:",
    "KUE_TYPES": "sl:kue:types",
    "KUE_REFUSED": "sl:kue:refused",
    "KUE_WORK_TIME": "sl:kue:work_time",
    "KUE_EVENTS": "sl:kue:events",
    "KUE_PUBLISHED": "sl:kue:published",
    "KUE_PUBLISHER": "sl:kue:publisher",
    "NOTICES": "sl:notices",
    "GONE": "sl:gone:",
    "SLIDE": "sl:slide:",
    "SLIDES_BY_CREATOR": "sl:slides:creator:",
    "SLIDES_DUE": "sl:slides:due",
    "SLIDES_KEY": "sl:slides:key",
    "WATCHERS": "sl:watchers:",
    "WATCH_SEEN": "sl:watch:seen:",
    "WATCH_GONE": "sl:watch:gone:",
    "WATCH_REFUSED": "sl:watch:refused:",
    "WATCH_LOOKS": "sl:watch:looks",
    "ARRIVALS": "sl:arrivals",
    "ARRIVAL": "sl:arrival:",
    "CARDS": "sl:cards",
    "TEXTS": "sl:texts",
    "HOSTING": "sl:hosting",
    "WORKERS": "sl:workers",
    "WORKER": "sl:worker:",
}


def test_no_key_has_changed_its_name() -> None:
    """Orders that an older version stored are found."""
    assert {key.name: key.value for key in Key} == NAMES


def test_only_one_module_holds_the_name_of_a_key() -> None:
    """Python and Lua both take the names from it."""
    found = set()
    for package in ("broker", "services", "worker", "slidelane", "demo", "benchmarks"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".lua") and re.search(r"['\"]sl:", file.read_text()):
                found.add(file.relative_to(ROOT))
    assert found == {Path("broker/order_store/keys.py")}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RedisClient]:
    """A client of a server that has never run a script."""
    settings = BrokerSettings(data=tmp_path)
    with EmbeddedRedis(settings):
        yield RedisClient(RedisUrl.of(settings))


def test_a_script_is_sent_to_redis_once(client: RedisClient) -> None:
    """After that each call sends its digest alone, and Redis has one script more and not many."""
    for _ in range(3):
        client.run_json("running")
    statistics = client.records.info("commandstats")
    assert statistics["cmdstat_evalsha"]["calls"] == 4  # the first one did not know the script
    assert statistics["cmdstat_script|load"]["calls"] == 1
    assert client.records.info("memory")["number_of_cached_scripts"] == 1
