"""The records of slides that people look at: bounds, states, and damage."""

from dataclasses import replace

import pytest

from broker.errors import OrderError, TemporaryError
from broker.order_store import LeaseLostError, OrderStore
from broker.order_store.keys import Key
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.order_store.viewed_slides import NewSlide
from broker.order_store.viewed_slides.record import MOST_FETCHING
from broker.orders.source import PathSource, UrlSource
from broker.settings.config import BrokerSettings

ON_DISK = NewSlide("lab", PathSource(type="path", path="/a.svs"), "a.svs", "/a.svs", {"width": 1})
AT_A_URL = NewSlide(
    "lab", UrlSource.model_validate({"type": "url", "url": "https://a.example.org/a.svs"})
)


def test_the_oldest_slides_of_a_caller_are_forgotten(
    broker_settings: BrokerSettings,
) -> None:
    """So that nobody fills Redis by looking; another caller's slides stay."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    slides.most_of_caller = 3
    other, _ = slides.create(NewSlide("other", ON_DISK.source, "a.svs", "/a.svs", {"width": 1}))
    ids = [slides.create(ON_DISK)[0].id for _ in range(5)]
    for gone in ids[:2]:
        with pytest.raises(OrderError, match="there is no slide"):
            slides.use(gone)
    for kept in (other.id, *ids[2:]):
        assert slides.use(kept).id == kept


def test_so_many_slides_wait_to_be_fetched_at_a_time(
    broker_settings: BrokerSettings,
) -> None:
    """One more is refused for now; one on disk is not, and an end makes room."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    slides.most_fetching = 2
    first, _ = slides.create(AT_A_URL)
    slides.create(AT_A_URL)
    with pytest.raises(TemporaryError) as caught:
        slides.create(AT_A_URL)
    assert (caught.value.code, caught.value.retry_after_s) == ("too_many_waiting", 30)
    assert slides.create(ON_DISK)[1] is None
    claim = slides.claim(first.id, "w")
    assert claim
    slides.finish(claim, {"path": "/b.svs", "digest": "d", "bytes": 1})
    assert slides.create(AT_A_URL)[1]


def test_a_caller_has_so_many_slides_fetched_at_a_time(broker_settings: BrokerSettings) -> None:
    """Others are not kept waiting by it; a slide that is deleted or has ended makes room."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    two = replace(AT_A_URL, most_fetching=2)
    first, _ = slides.create(two)
    second, _ = slides.create(two)
    with pytest.raises(TemporaryError) as caught:
        slides.create(two)
    assert (caught.value.code, caught.value.retry_after_s) == ("too_many_waiting", 30)
    assert "'lab'" in caught.value.detail
    assert slides.create(replace(two, created_by="other"))[1]
    assert slides.create(ON_DISK)[1] is None
    slides.delete(first.id)
    assert slides.create(two)[1]
    claim = slides.claim(second.id, "w")
    assert claim
    slides.finish(claim, {"path": "/b.svs", "digest": "d", "bytes": 1})
    assert slides.create(two)[1]
    for _ in range(MOST_FETCHING):
        slides.create(replace(AT_A_URL, created_by="third"))
    with pytest.raises(TemporaryError, match=f"{MOST_FETCHING} slides of 'third'"):
        slides.create(replace(AT_A_URL, created_by="third"))


def test_a_slide_that_is_deleted_ends_its_fetch(broker_settings: BrokerSettings) -> None:
    """The lease is lost, nothing that is late is noted, and nothing of it is left in Redis."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    slide, _ = slides.create(AT_A_URL)
    claim = slides.claim(slide.id, "w")
    assert claim
    slides.delete(slide.id)
    assert slides.renew(claim, {"stage": "fetching", "done": 1, "total": 2}) == "lost"
    assert slides.check_lease(claim) == "lost"
    with pytest.raises(LeaseLostError):
        slides.finish(claim, {"path": "/b.svs", "digest": "d", "bytes": 1})
    with pytest.raises(OrderError, match="there is no slide"):
        slides.delete(slide.id)
    records = RedisClient(RedisUrl.of(broker_settings)).records
    assert not records.exists(Key.SLIDE + slide.id)
    assert records.zcard(Key.SLIDES_DUE) == 0
    assert records.zcard(Key.SLIDES_BY_CREATOR + "lab") == 0


def test_what_the_viewer_said_first_stays(broker_settings: BrokerSettings) -> None:
    """Two callers ask for a slide that was just fetched: both notes are of the same file."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    slide, _ = slides.create(AT_A_URL)
    slides.opened(slide, {"width": 9})
    assert slides.use(slide.id).state == "fetching"
    claim = slides.claim(slide.id, "w")
    assert claim
    slides.finish(claim, {"path": "/b.svs"})
    slides.opened(slides.use(slide.id), {"width": 1})
    slides.opened(slides.use(slide.id), {"width": 2})
    settled = slides.use(slide.id)
    assert (settled.state, settled.facts, settled.path) == ("ready", {"width": 1}, "/b.svs")


def test_a_damaged_record_is_told_as_one(broker_settings: BrokerSettings) -> None:
    """It breaks nothing but itself."""
    slides = OrderStore.connect(broker_settings).viewed_slides
    slide, _ = slides.create(ON_DISK)
    records = RedisClient(RedisUrl.of(broker_settings)).records
    records.hset(Key.SLIDE + slide.id, "request", "{")
    with pytest.raises(OrderError) as caught:
        slides.use(slide.id)
    assert caught.value.code == "record_unreadable"
    records.delete(Key.SLIDE + slide.id)
    assert slides.due() == ()


def test_links_are_signed_by_the_site_s_key_or_one_that_redis_keeps(
    broker_settings: BrokerSettings,
) -> None:
    """Every API process has the same; a site's key is not the one that Redis holds."""
    kept = OrderStore.connect(broker_settings).viewed_slides.signing_key()
    assert len(kept) >= 32
    assert OrderStore.connect(broker_settings).viewed_slides.signing_key() == kept
    key = "ZmDfcTF7_60GrrY167zsiPd67pEvs0aGOv2oasOM1Pg="
    settings = BrokerSettings.model_validate(broker_settings.model_dump() | {"secret_key": key})
    assert OrderStore.connect(settings).viewed_slides.signing_key() == key.encode()
