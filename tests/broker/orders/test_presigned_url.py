"""When a URL dies, read from itself; and what dies first is fetched first."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from broker.order_store import OrderStore
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.orders.presigned_url import url_expires_at
from broker.orders.request import OrderRequest
from broker.settings.config import BrokerSettings
from tests.support.record_snapshot import Snapshot, pass_time

AT = datetime(2026, 11, 21, 8, tzinfo=UTC).timestamp()
HOUR_S = 3600


@pytest.mark.parametrize(
    ("query", "dies_at"),
    [
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261121T080000Z&X-Amz-Expires=3600",
            AT + 3600,
        ),
        ("x-amz-date=20261121T080000Z&x-amz-expires=0", AT),
        ("X-Goog-Date=20261121T080000Z&X-Goog-Expires=60&X-Goog-Signature=ab", AT + 60),
        (f"AWSAccessKeyId=A&Signature=b&Expires={AT:.0f}", AT),
        (f"Expires={AT:.0f}&Signature=b&Key-Pair-Id=K", AT),
        ("sv=2024-11-04&se=2026-11-21T08%3A00%3A00Z&sr=b&sig=x", AT),
        ("se=2026-11-21T09:00:00%2B01:00&sig=x", AT),
        ("se=2026-11-21T08:00&sig=x", AT),
        ("", None),
        (f"Expires={AT:.0f}", None),
        ("se=2026-11-21", None),
        ("X-Amz-Date=20261121T080000Z", None),
        ("X-Amz-Date=soon&X-Amz-Expires=60", None),
        ("X-Amz-Date=20261121T080000Z&X-Amz-Expires=" + "9" * 5000, None),
        ("X-Amz-Date=20261121T080000Z&X-Amz-Expires=-" + "9" * 400, None),
        ("Signature=b&Expires=99999999999999999999", None),
        ("Signature=b&Expires=-1", None),
        ("se=99999-01-01&sig=x", None),
        ("%ff=%ff&;&&=&Signature=%00&Expires=%00", None),
    ],
)
def test_the_moment_a_url_expires_is_read_from_it(query: str, dies_at: float | None) -> None:
    """S3, Google, CloudFront and Azure each say it in their own way; what cannot be read says
    nothing."""
    assert url_expires_at(f"https://bucket.example/a.svs?{query}") == dies_at


def signed(life_s: float) -> str:
    return f"https://bucket.example/a.svs?Signature=x&Expires={time.time() + life_s:.0f}"


def an_order(*sources: Mapping[str, object], **more: str) -> OrderRequest:
    scans = [
        {"id": str(n), "source": {"type": "url", **source}} for n, source in enumerate(sources)
    ]
    return OrderRequest.model_validate({"algorithm": "grid", "scans": scans, **more}, strict=False)


def test_a_series_expires_with_the_first_of_its_files(store: OrderStore, redis_url: str) -> None:
    """Of several URLs the earliest counts, in whichever field it stands."""
    urls = [
        signed(3 * HOUR_S),
        signed(HOUR_S),
        "https://bucket.example/open.dcm",
        signed(2 * HOUR_S),
    ]
    store.create(
        an_order({"urls": urls}, {"zip_url": signed(HOUR_S)}, {"url": urls[2]}), queue="gpu"
    )
    works = Snapshot.take(RedisClient(RedisUrl.at(redis_url)).records).works.values()
    died = [int(work["dies_at"]) / 1000 - time.time() for work in works if "dies_at" in work]
    assert [round(left_s / 60) for left_s in died] == [60, 60]


def test_within_an_order_the_url_that_expires_first_is_enqueued_first(store: OrderStore) -> None:
    """The rest keep the order they were given in, those that never die at the end."""
    lives = [None, 5 * HOUR_S, 2 * HOUR_S, None, 9 * HOUR_S]
    sources = [
        {"url": signed(life_s) if life_s else "https://bucket.example/open.svs"} for life_s in lives
    ]
    messages = store.create(an_order(*sources), queue="gpu").messages
    assert [message.work.partition(".")[2] for message in messages] == ["2", "1", "4", "0", "3"]


@pytest.mark.parametrize("priority", ["low", "normal", "high"])
def test_a_url_that_comes_to_die_soon_while_it_waits_becomes_urgent(
    broker_settings: BrokerSettings, redis_url: str, priority: str
) -> None:
    """What was safe when it was ordered goes before all others a quarter of an hour before its
    end."""
    store = OrderStore.connect(broker_settings)
    created = store.create(an_order({"url": signed(HOUR_S)}, priority=priority), queue="gpu")
    assert created.messages[0].queue != "fetch.urgent"
    pass_time(RedisClient(RedisUrl.at(redis_url)).records, 50 * 60)
    assert [(message.work, message.queue) for message in store.due()] == [
        (created.messages[0].work, "fetch.urgent")
    ]
    assert store.claim(created.messages[0].work, "fetch", "w1")


def test_across_orders_the_url_that_expires_first_is_fetched_first(store: OrderStore) -> None:
    """Whatever message comes first; what never dies comes last, and nothing is left over."""
    lives = [None, 9 * HOUR_S, 2 * HOUR_S, None, 5 * HOUR_S]
    urls = [signed(life_s) if life_s else "https://bucket.example/open.svs" for life_s in lives]
    messages = [store.create(an_order({"url": url}), queue="gpu").messages[0] for url in urls]
    taken = []
    for message in messages:
        work = store.expiring_first(message.work)
        assert store.claim(work, "fetch", "w1")
        taken.append([other.work for other in messages].index(work))
    assert taken == [2, 4, 1, 3, 0]
    assert store.expiring_first(messages[0].work) == messages[0].work
    assert store.expiring_first("unknown.0") == "unknown.0"


def test_a_duration_is_no_time() -> None:
    """`expires=3600` beside a signature says how long, and not until when: nothing is read from
    it."""
    assert url_expires_at("https://h/x.svs?expires=3600&signature=abc") is None
