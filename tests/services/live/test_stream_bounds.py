"""Who may follow what, how many streams there are, and how they end."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from broker.order_store import Creator, OrderStore
from broker.order_store.embedded_redis import EmbeddedRedis
from broker.settings.config import BrokerSettings, Config, load
from services.app import create_app
from services.live import feed as feeds
from services.live import stream as streams
from tests.support.events import Event, Running, Stream, serving
from tests.support.orders import a_request, taken

Place = Callable[..., str]


def entry(name: str, key: str, **more: object) -> dict[str, object]:
    """A key of the settings."""
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} | more


@pytest.fixture
def keys_path(tmp_path: Path) -> Path:
    """A file with two keys, of which one sees its own orders only."""
    path = tmp_path / "keys.json"
    path.write_text(
        json.dumps([entry("own", "own-key", own_orders_only=True), entry("b", "b-key")])
    )
    return path


@pytest.fixture
def locked(config: Config, announced: OrderStore, keys_path: Path) -> Iterator[Running]:
    """The API with these keys."""
    keyed = load(**config.model_dump() | {"services": {"keys_file": str(keys_path)}})
    with serving(create_app(keyed, announced), keyed) as running:
        yield running


def test_whoever_sees_its_own_orders_follows_these_alone(
    locked: Running, announced: OrderStore
) -> None:
    """Of all orders it is told its own, also after a cut, and another one is not there."""
    own = announced.create(a_request(), queue="gpu", creator=Creator("own")).order_id
    other = announced.create(a_request(), queue="gpu", creator=Creator("b")).order_id
    key = {"X_API_Key": "own-key"}
    with locked.stream(f"/v1/events?orders={own},{other}", **key) as stream:
        assert stream.status == 404
    with locked.stream(f"/v1/orders/{other}/events", **key) as stream:
        assert stream.status == 404
    with locked.stream("/v1/events?orders=all", **key) as stream:
        last = next(stream.blocks()).id
        announced.cancel(other)
        announced.cancel(own)
        assert {event.data["order"] for event in stream.until(4)} == {own}
    with locked.stream("/v1/events?orders=all", Last_Event_ID=last, **key) as stream:
        assert {event.data["order"] for event in stream.until(4)} == {own}


def test_whoever_sees_its_own_orders_is_told_of_their_end(
    locked: Running, announced: OrderStore
) -> None:
    """When an order is deleted nobody can look up any more who placed it; the change says so."""
    own, other, last = (
        announced.create(a_request(), queue="gpu", creator=Creator(name)).order_id
        for name in ("own", "b", "own")
    )
    for order_id in (own, other, last):
        announced.cancel(order_id)
    key = {"X_API_Key": "own-key"}
    with locked.stream("/v1/events?orders=all", **key) as stream:
        next(stream.blocks())
        for order_id in (other, own, last):
            announced.delete_with_files(order_id)
        told = [event.data for event in stream.until(2)]
    assert told == [{"order": own, "deleted": True}, {"order": last, "deleted": True}]


def test_a_stream_needs_a_key(locked: Running) -> None:
    """As every other answer."""
    with locked.stream("/v1/events?orders=all") as stream:
        assert stream.status == 401


def test_a_stream_ends_with_its_key(
    locked: Running, keys_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was opened before."""
    monkeypatch.setattr(streams, "CHECK_S", 0.05)
    with locked.stream("/v1/events?orders=all", X_API_Key="b-key") as stream:
        next(stream.blocks())
        keys_path.write_text("[]")
        assert [event.name for event in stream.events()] == ["bye"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "request_invalid"),
        ("?orders=", "request_invalid"),
        ("?orders=A%0Ab", "request_invalid"),
        ("?orders=all&state=queued", "request_invalid"),
        ("?orders=all&orders=all", "request_invalid"),
        ("?orders=" + ",".join(f"{n:024x}" for n in range(101)), "request_invalid"),
        ("?orders=0123456789abcdef01234567", "not_found"),
    ],
    ids=["none", "empty", "no id", "unknown parameter", "twice", "too many", "absent"],
)
def test_what_cannot_be_followed_is_refused(api: TestClient, query: str, code: str) -> None:
    """Before a stream begins."""
    answer = api.get(f"/v1/events{query}")
    assert answer.json()["code"] == code


def test_there_are_only_so_many_streams(config: Config, announced: OrderStore) -> None:
    """One more is told to come again later; one that ends makes room."""
    few = load(**config.model_dump() | {"services": {"max_connections": 6}})
    with serving(create_app(few, announced), few) as running:
        open_ones = [running.stream("/v1/events?orders=all") for _ in range(3)]
        for stream in open_ones:
            next(stream.blocks())
        with running.stream("/v1/events?orders=all") as refused:
            assert refused.status == 503
            assert refused.headers["retry-after"] == "5"
        for stream in open_ones:
            stream.close()


def test_a_reader_that_is_too_slow_is_cut_off(
    served: Running, place: Place, announced: OrderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is bounded; it goes on from its last event when it is back."""
    monkeypatch.setattr(feeds, "MOST_UNREAD", 3)
    order_id = place()
    claim = taken(announced, f"{order_id}.0", "fetch")
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        last = next(stream.blocks()).id
        announced.note(claim, lines=[f"line {number}" for number in range(20)])
        told = [event.id for event in stream.events()]
    assert len(told) < 20
    with served.stream(
        f"/v1/events?orders={order_id}", Last_Event_ID=(told or [last])[-1]
    ) as stream:
        assert len(stream.until(20 - len(told))) == 20 - len(told)


def test_stopping_the_service_ends_streams_at_once(
    config: Config, announced: OrderStore, place: Place
) -> None:
    """Each is told, and none keeps the service waiting for its 10 s."""
    with serving(create_app(config, announced), config) as running:
        open_ones = [running.stream(f"/v1/events?orders={place()}") for _ in range(10)]
        for stream in open_ones:
            next(stream.blocks())
        assert running.stop() < 5
        for stream in open_ones:
            assert [event.name for event in stream.events()] == ["bye"]
            stream.close()


def test_streams_go_on_when_redis_is_back(tmp_path: Path) -> None:
    """Nothing that happened before or after is lost, and nothing comes twice."""
    settings = BrokerSettings(data=tmp_path / "data", allow_hosts=("127.0.0.1",))
    config = load(broker=settings.model_dump())
    events: list[Event] = []
    with EmbeddedRedis(settings):
        store = OrderStore.connect(settings)
        running = Running(create_app(config, store), config)
        order_id = store.create(a_request(), queue="gpu").order_id
        stream = running.stream(f"/v1/events?orders={order_id}")
        next(stream.blocks())
        claim = taken(store, f"{order_id}.0", "fetch")
        store.note(claim, log="before")
        events += _up_to(stream, "before")
    with EmbeddedRedis(settings):
        store.note(claim, log="after")
        events += _up_to(stream, "after")
        kept = [entry["text"] for entry in store.log(order_id)]
        stream.close()
        running.stop()
    assert len({event.id for event in events}) == len(events)
    lines = [event.data["line"].partition(" ")[2] for event in events if event.name == "log"]
    assert lines == kept[1:]


def _up_to(stream: Stream, line: str) -> list[Event]:
    """Return the events up to this line of the log."""
    found: list[Event] = []
    for event in stream.events():
        found.append(event)
        if event.data.get("line", "").endswith(line):
            break
    return found
