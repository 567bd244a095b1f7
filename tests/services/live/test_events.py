"""Streams of events over a real socket: what they hold, and how they go on after a cut."""

import time
from collections.abc import Callable

import pytest

from broker.order_store import OrderStore
from broker.order_store.keys import Key
from services.live import stream as streams
from tests.support.events import Running
from tests.support.orders import taken
from tests.support.redis_servers import wait_for

Place = Callable[..., str]
Work = Callable[[str], None]


def test_the_answer_is_held_back_by_no_proxy(served: Running, place: Place) -> None:
    """Its type, nothing kept, nothing buffered, and a position to go on from before any event."""
    with served.stream(f"/v1/orders/{place()}/events") as stream:
        assert stream.status == 200
        headers = stream.headers
        assert headers["content-type"].partition(";")[0] == "text/event-stream"
        assert headers["cache-control"] == "no-store"
        assert headers["x-accel-buffering"] == "no"
        first = next(stream.blocks())
        assert first.fields.keys() == {"id", "retry"}
        assert first.fields["retry"] == "2000"


def test_every_state_of_an_order_is_told_in_order(
    served: Running, place: Place, run_through: Work
) -> None:
    """None is merged with another, whatever the order has come to when it is read."""
    order_id = place()
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        run_through(order_id)
        states, scans, events = [], [], []
        for event in stream.events():
            assert event.data["order"] == order_id
            events.append(event)
            if event.name == "order":
                states += [event.data["state"]] if "state" in event.data else []
                scans += [scan["state"] for scan in event.data.get("scans", ())]
            if states[-1:] == ["delivered"]:
                break
    assert states == ["running", "delivering", "delivered"]
    assert scans == ["fetching", "staged", "classifying", "classified"]
    assert events[-1].data["progress"] == {"stage": "delivered", "percent": 100.0, "eta_s": 0.0}
    assert events[-1].data["delivery"]["state"] == "none"


def test_lines_of_the_log_are_those_of_the_log(
    served: Running, place: Place, run_through: Work, announced: OrderStore
) -> None:
    """With their times, one event each."""
    order_id = place()
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        run_through(order_id)
        lines = []
        for event in stream.events():
            if event.name == "log":
                lines.append(event.data["line"])
            if event.name == "log" and event.data["line"].endswith(" delivered"):
                break
    kept = [entry["text"] for entry in announced.log(order_id)]
    assert [line.partition(" ")[2] for line in lines] == kept[1:]


def test_progress_names_the_scan_and_how_far_the_order_is(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """The parts of the view that changed, and no other scan."""
    order_id = place(2)
    claim = taken(announced, f"{order_id}.1", "fetch")
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        announced.renew(claim, {"stage": "fetching", "done": 50, "total": 200})
        (event,) = stream.until(1)
    assert event.name == "order"
    (scan,) = event.data["scans"]
    assert scan["progress"] == {"stage": "fetching", "done": 50, "total": 200, "eta_s": None}
    assert scan.keys() == {"id", "progress"}
    assert event.data["progress"]["stage"] == "fetch"
    assert event.data["progress"]["percent"] > 0


def test_only_the_orders_that_were_asked_for_are_told(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """Several of them, or all; also one that is placed later."""
    one, other, third = place(), place(), place()
    with (
        served.stream(f"/v1/events?orders={one},{third}") as two,
        served.stream("/v1/events?orders=all") as everything,
    ):
        for order_id in (other, one, third):
            announced.cancel(order_id)
        late = place()
        told = {event.data["order"] for event in two.until(6)}
        assert told == {one, third}
        seen = []
        for event in everything.events():
            seen.append(event.data["order"])
            if seen[-1] == late:
                break
    assert list(dict.fromkeys(seen)) == [other, one, third, late]


def test_a_deleted_order_is_told(served: Running, place: Place, announced: OrderStore) -> None:
    """Whoever shows a list takes it away."""
    order_id = place()
    announced.cancel(order_id)
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        announced.delete_with_files(order_id)
        (event,) = stream.until(1)
    assert event.data == {"order": order_id, "deleted": True}


def test_a_stream_goes_on_where_it_was_cut(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """Over many cuts, with changes while nobody listens: no event is lost, none comes twice."""
    order_id = place()
    claim = taken(announced, f"{order_id}.0", "fetch")
    path = f"/v1/orders/{order_id}/events"
    with served.stream(path) as stream:
        last = next(stream.blocks()).id
    done = []
    for cut in range(6):
        for number in range(3):
            announced.renew(claim, {"stage": "fetching", "done": cut * 6 + number, "total": 99})
        with served.stream(path, Last_Event_ID=last) as stream:
            for number in range(3, 6):
                announced.renew(claim, {"stage": "fetching", "done": cut * 6 + number, "total": 99})
            for event in stream.until(6 if cut else 5):
                last = event.id
                done.append(event.data["scans"][0]["progress"]["done"])
    announced.give_back(claim)
    assert done == list(range(35))


def test_the_position_may_stand_in_the_query(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """A page that opens a new stream cannot set the header. A header is newer and wins."""
    order_id = place()
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        start = next(stream.blocks()).id
    announced.cancel(order_id)
    with served.stream(f"/v1/events?orders={order_id}&last_event_id={start}") as stream:
        events = stream.until(2)
    path = f"/v1/events?orders={order_id}&last_event_id={start}"
    with served.stream(path, Last_Event_ID=events[0].id) as stream:
        assert [event.id for event in stream.until(1)] == [events[1].id]


@pytest.mark.parametrize(
    "last", ["1-1", "9999999999999-0", "abc", "-", "+", "$", "0", "1-1-1", "9" * 30 + "-0"]
)
def test_an_unknown_position_begins_afresh(served: Running, place: Place, last: str) -> None:
    """The caller is told to read everything again, and gets what happens from now on."""
    order_id = place()
    with served.stream(f"/v1/events?orders={order_id}", Last_Event_ID=last) as stream:
        (event,) = stream.until(1)
        assert event.name == "reset"
        served.app.state.store.cancel(order_id)
        assert stream.until(1)[0].data["order"] == order_id


def test_a_position_that_the_feed_has_dropped_is_unknown(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """Only the newest changes are kept."""
    order_id = place()
    with served.stream(f"/v1/events?orders={order_id}") as stream:
        last = next(stream.blocks()).id
    announced.cancel(order_id)
    announced._client.records.xtrim(Key.CHANGES, maxlen=1, approximate=False)
    with served.stream(f"/v1/events?orders={order_id}", Last_Event_ID=last) as stream:
        assert stream.until(1)[0].name == "reset"


def test_a_quiet_stream_says_that_it_is_there(
    served: Running, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment, which browsers pass over; every 15 s in service."""
    assert streams.HEARTBEAT_S == 15
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.05)
    with served.stream(f"/v1/events?orders={place()}") as stream:
        blocks = stream.blocks()
        next(blocks)
        assert next(blocks).fields == {"comment": "still here"}


def test_a_stream_that_was_left_is_followed_no_more(
    served: Running, place: Place, announced: OrderStore
) -> None:
    """Neither the thread nor the memory stays."""
    feed = served.app.state.feed
    streams_open = [served.stream(f"/v1/events?orders={place()}") for _ in range(5)]
    for stream in streams_open:
        next(stream.blocks())
    assert len(feed._followers) == 5
    for stream in streams_open:
        stream.close()
    wait_for(lambda: feed._thread is None and not feed._followers)


def test_many_streams_cost_one_reader(served: Running, place: Place, announced: OrderStore) -> None:
    """All of them get everything; Redis is asked by one thread."""
    order_id = place()
    many = [served.stream("/v1/events?orders=all") for _ in range(60)]
    before = announced._client.records.info("commandstats").get("cmdstat_xread", {"calls": 0})
    began = time.monotonic()
    announced.cancel(order_id)
    told = [[event.id for event in stream.until(4)] for stream in many]
    took_s = time.monotonic() - began
    after = announced._client.records.info("commandstats")["cmdstat_xread"]
    for stream in many:
        stream.close()
    assert len({tuple(ids) for ids in told}) == 1
    assert after["calls"] - before["calls"] <= 5 + 2 * took_s


def test_of_a_deleted_order_the_feed_keeps_nothing_but_its_end(
    place: Place, announced: OrderStore
) -> None:
    """Lines of a log may name a file; those of other orders stay."""
    gone, other = place(), place()
    announced.cancel(gone, "somebody")
    announced.cancel(other, "somebody")
    announced.delete_with_files(gone)
    changes = announced.changes_between("0-0")
    assert [one.state for one in changes if one.order_id == gone] == ["deleted"]
    assert len([one for one in changes if one.order_id == other]) == 7
