"""Slides that people look at, fetched by a courier: its end, its loss, and what may be shown."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter

from broker.order_store import Creator, OrderStore
from broker.order_store.keys import Key
from broker.order_store.redis_client import RedisClient
from broker.order_store.redis_url import RedisUrl
from broker.order_store.viewed_slides import NewSlide, ViewedSlide
from broker.orders.request import OrderRequest
from broker.orders.source import Source
from broker.settings.config import BrokerSettings, Config, SlidesSettings, WorkerSettings
from tests.support.slide_server import File, SlideServer
from tests.support.slides import a_picture, a_slide
from tests.support.stack import wait_for
from worker import tasks, viewed_slides
from worker.context import WorkerContext, build_context

KEY = "ZmDfcTF7_60GrrY167zsiPd67pEvs0aGOv2oasOM1Pg="  # of nobody
QUERY = "?X-Amz-Signature=f00dfeed"


@pytest.fixture
def context(broker_settings: BrokerSettings, tmp_path: Path) -> WorkerContext:
    settings = broker_settings.model_copy(update={"lease_s": 0.6, "heartbeat_s": 0.1})
    worker = WorkerSettings(slides=SlidesSettings(roots=(tmp_path,)), device="cpu", threads=1)
    return build_context(Config(broker=settings, worker=worker), OrderStore.connect(settings))


@pytest.fixture
def server() -> Iterator[SlideServer]:
    with SlideServer() as server:
        yield server


def _looked_at(context: WorkerContext, **source: Any) -> ViewedSlide:
    """Return a slide that waits to be fetched."""
    given = TypeAdapter[Source](Source).validate_python(source)
    slide, message = context.store.viewed_slides.create(NewSlide("lab", given, "a.svs"))
    assert message
    assert message.slide_id == slide.id
    return slide


def _now(context: WorkerContext, slide: ViewedSlide) -> ViewedSlide:
    return context.store.viewed_slides.use(slide.id)


def test_a_slide_is_fetched_whole_and_says_where_it_is(
    context: WorkerContext, server: SlideServer, tmp_path: Path
) -> None:
    """It lies in the slide cache; the outcome for Flower names neither address nor place."""
    content = a_slide(tmp_path / "a.svs", a_picture(300, 200)).read_bytes()
    server.answers["/a.svs"] = File(content)
    slide = _looked_at(context, type="url", url=server.url(f"/a.svs{QUERY}"))
    end = viewed_slides.fetch(context, slide.id, "courier")
    assert (end.end, "f00dfeed" in end.text, "/a.svs" in end.text) == ("done", False, False)
    fetched = _now(context, slide)
    assert (fetched.state, fetched.problem) == ("fetched", None)
    assert Path(fetched.path).read_bytes() == content
    assert Path(fetched.path).is_relative_to(context.data)
    assert context.store.viewed_slides.claim(slide.id, "other") is None


def test_a_source_that_refuses_fails_the_slide(context: WorkerContext, server: SlideServer) -> None:
    """At once, with the problem of an order for it, which shows no query."""
    server.answers["/a.svs"] = lambda handler: handler.answer(404)
    slide = _looked_at(context, type="url", url=server.url(f"/a.svs{QUERY}"))
    assert viewed_slides.fetch(context, slide.id, "courier").end == "failed"
    failed = _now(context, slide)
    assert failed.state == "failed"
    assert failed.problem
    assert failed.problem["code"] == "input_not_found"
    assert "f00dfeed" not in str(failed.problem)


def test_a_source_that_does_not_answer_is_given_up_after_three_tries(
    context: WorkerContext, server: SlideServer
) -> None:
    """The slide waits between them, and fails with the last reason."""
    server.answers["/a.svs"] = lambda handler: handler.answer(503, Retry_After="0")
    slide = _looked_at(context, type="url", url=server.url("/a.svs"))

    def has_ended() -> bool:
        viewed_slides.fetch(context, slide.id, "courier")
        return _now(context, slide).state == "failed"

    wait_for(has_ended, within_s=120, what="the end of the slide")
    problem = _now(context, slide).problem
    assert problem
    assert problem["code"] == "input_unreachable"


def test_a_courier_that_is_lost_is_replaced_three_times(
    context: WorkerContext, server: SlideServer
) -> None:
    """Without a heartbeat its lease ends, a message is sent again, and its late end is refused."""
    slides = context.store.viewed_slides
    slide = _looked_at(context, type="url", url=server.url("/a.svs"))
    lost = []
    for attempt in (1, 2, 3):
        claim = wait_for(lambda: slides.claim(slide.id, "lost"), within_s=30, what="the lease")
        assert claim.attempts == attempt
        assert slides.claim(slide.id, "other") is None
        lost.append(claim)
        if attempt < 3:
            (message,) = wait_for(slides.due, within_s=30, what="the message")
            assert (message.slide_id, message.attempt) == (slide.id, attempt + 1)
    assert slides.check_lease(lost[0]) == "lost"
    assert slides.renew(lost[0]) == "lost"
    with pytest.raises(viewed_slides.LeaseLostError):
        slides.finish(lost[0], {"path": "/elsewhere"})

    def has_failed() -> bool:
        assert slides.due() == ()
        return _now(context, slide).state == "failed"

    wait_for(has_failed, within_s=30, what="the end of the third lease")
    problem = _now(context, slide).problem
    assert problem
    assert (problem["code"], problem["blame"]) == ("worker_lost", "platform")
    assert slides.check_lease(lost[2]) == "lost"


def test_a_courier_that_leaves_gives_the_slide_back(
    context: WorkerContext, server: SlideServer
) -> None:
    """That is none of the three attempts, and the next courier fetches it at once."""
    file = File(b"x" * 1_000_000, until=lambda: False)
    file.until = context.leaving.is_set
    server.answers["/a.svs"] = file
    slide = _looked_at(context, type="url", url=server.url("/a.svs"))
    context.leaving.set()
    assert viewed_slides.fetch(context, slide.id, "courier").end == "given_back"
    claim = context.store.viewed_slides.claim(slide.id, "other")
    assert claim
    assert claim.attempts == 1


def test_a_heartbeat_keeps_the_slide_while_it_is_slow(
    context: WorkerContext, server: SlideServer, tmp_path: Path
) -> None:
    """For longer than a lease nobody else gets it, and the record says how far it is."""
    content = a_slide(tmp_path / "a.svs", a_picture(300, 200)).read_bytes()
    slides = context.store.viewed_slides
    seen: list[bool] = []
    slide = _looked_at(context, type="url", url=server.url("/a.svs"))

    def has_been_held_long() -> bool:
        seen.append(slides.claim(slide.id, "other") is None)
        # 0.01 s each: three times the lease.
        return len(seen) > 180

    server.answers["/a.svs"] = File(content, until=has_been_held_long)
    assert viewed_slides.fetch(context, slide.id, "courier").end == "done"
    assert all(seen)
    fetched = _now(context, slide)
    assert fetched.state == "fetched"
    assert 0 < fetched.progress.done <= fetched.progress.total == len(content)


def test_what_is_stored_is_sealed_with_the_site_s_key(
    broker_settings: BrokerSettings,
) -> None:
    """Redis holds neither the URL's query nor the name or the place of the slide."""
    settings = broker_settings.model_copy(update={"secret_key": SecretStr(KEY)})
    slides = OrderStore.connect(settings).viewed_slides
    source = TypeAdapter[Source](Source).validate_python(
        {"type": "url", "url": f"https://a.example.org/S26-1.svs{QUERY}"}
    )
    slide, _ = slides.create(NewSlide("lab", source, "S26-1.svs"))
    claim = slides.claim(slide.id, "courier")
    assert claim
    slides.finish(claim, {"path": "/cache/secret-place.svs"})
    stored = str(RedisClient(RedisUrl.of(settings)).records.hgetall(Key.SLIDE + slide.id))
    for secret in ("f00dfeed", "S26-1", "secret-place"):
        assert secret not in stored
    assert slides.use(slide.id).path == "/cache/secret-place.svs"
    assert "f00dfeed" not in repr(slides.use(slide.id))


def test_an_order_takes_the_slide_that_was_looked_at_from_the_cache(
    context: WorkerContext, server: SlideServer, tmp_path: Path
) -> None:
    """Its URL may have expired since: the server is not asked again while the slide is here."""
    content = a_slide(tmp_path / "a.svs", a_picture(300, 200)).read_bytes()
    server.answers["/a.svs"] = File(content)
    slide = _looked_at(context, type="url", url=server.url("/a.svs"))
    viewed_slides.fetch(context, slide.id, "courier")
    server.answers["/a.svs"] = lambda handler: handler.answer(403)
    asked = len(server.asked)
    scan = {"id": "1", "source": {"type": "url", "url": server.url("/a.svs")}}
    request = OrderRequest.model_validate({"algorithm": "grid", "scans": (scan,)})
    creator = Creator("lab", looked_at={0: _now(context, slide).place})
    order_id = context.store.create(request, queue="gpu", creator=creator).order_id
    claim = context.store.claim(f"{order_id}.0", "fetch", "courier")
    assert claim
    assert tasks.run_stage(context, claim).end == "done"
    staged = context.store.get(order_id).scans[0]
    assert (staged.state, staged.slide["path"]) == ("staged", _now(context, slide).path)
    assert len(server.asked) == asked
