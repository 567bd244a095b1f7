"""What is true of the record after every move: of one picture of it, and of a picture and the one before."""

import json
from itertools import pairwise

from broker.orders.order import REOPENED, TRANSITIONS, OrderState, parse_work_id
from tests.support.record_snapshot import Picture

WAITING = {"scan": {"queued", "staged"}, "order": {"delivering"}}
HELD = {"scan": {"fetching", "classifying"}, "order": {"delivering"}}


def check(before: Picture, now: Picture, reopened: set[str]) -> None:
    """Raises `AssertionError`. `reopened`: the orders that somebody asked to try or to deliver again in between."""
    for order_id in now.orders:
        _moved_along_the_tables(now, order_id)
        _counted(now, order_id)
        _delivered_by_a_claim(now, order_id)
        _cancelled_in_the_end(now, order_id)
        if order_id in before.orders:
            _only_grew(before, now, order_id)
            assert not before.ended(order_id) or now.ended(order_id) or order_id in reopened
    _listed_once(now)
    _where_it_belongs(now)


def _path(now: Picture, order_id: str, scan: int | None) -> list[str]:
    said, prefix = (
        now.log(order_id),
        "" if scan is None else f"scan {now.scans(order_id)[scan]['id']}: ",
    )
    known = {prefix + state: state for state in TRANSITIONS["order" if scan is None else "scan"]}
    first = [] if scan is None else ["queued"]
    return first + [known[text] for text in said if text in known]


def _moved_along_the_tables(now: Picture, order_id: str) -> None:
    """The log tells every move, each is in a table, and the last leads to where the record is."""
    states = [now.orders[order_id]["state"], *(scan["state"] for scan in now.scans(order_id))]
    for number, state in enumerate(states):
        path = _path(now, order_id, number - 1 if number else None)
        moves, ways_out = (
            tables["scan" if number else "order"] for tables in (TRANSITIONS, REOPENED)
        )
        assert path[0] == "queued"
        assert path[-1] == state
        for one, other in pairwise(path):
            assert other in (*moves[one], *ways_out.get(one, ())), f"{one} -> {other}"


def _counted(now: Picture, order_id: str) -> None:
    """`failed` and `open` are what counting the scans gives; a scan that was stopped is open still."""
    states = [scan["state"] for scan in now.scans(order_id)]
    order = now.orders[order_id]
    assert int(order["failed"]) == states.count("failed")
    assert int(order["open"]) == len(states) - states.count("failed") - states.count("classified")
    if order["state"] in {"delivering", "delivered", "undelivered"}:
        assert set(states) == {"classified"}


def _delivered_by_a_claim(now: Picture, order_id: str) -> None:
    """Between `delivering` and `delivered` somebody took the delivery."""
    said = now.log(order_id)
    if now.orders[order_id]["state"] == "delivered":
        since = len(said) - said[::-1].index("delivering")
        assert any(text.startswith("deliver taken by ") for text in said[since:])


def _cancelled_in_the_end(now: Picture, order_id: str) -> None:
    """A wish to cancel waits for nothing but a delivery that is under way."""
    if now.orders[order_id]["cancel"] == "1":
        assert now.ended(order_id) or (
            now.orders[order_id]["state"] == "delivering" and order_id in now.held()
        )


def _only_grew(before: Picture, now: Picture, order_id: str) -> None:
    """Fencing numbers and the lists of attempts."""
    for work in before.works:
        if parse_work_id(work)[0] == order_id:
            assert int(now.works[work]["fence"]) >= int(before.works[work]["fence"])
    tried_before, tried = (
        [json.loads(attempt)["at"] for attempt in picture.below("sl:attempts:").get(order_id, [])]
        for picture in (before, now)
    )
    assert tried[: len(tried_before)] == tried_before


def _listed_once(now: Picture) -> None:
    """Each index holds the orders that it names, no others."""
    lists = {name: set(held) for name, held in now.below("sl:orders").items()}
    assert lists.get("", set()) == set(now.orders)
    assert lists.get(":algorithm:grid", set()) == set(now.orders)
    assert lists.get(":label:case=1", set()) == set(now.orders)
    for state in OrderState:
        there = {order_id for order_id, order in now.orders.items() if order["state"] == state}
        assert lists.get(f":state:{state}", set()) == there
    assert set(now.keys.get("sl:ended", {})) == {
        order_id for order_id in now.orders if now.ended(order_id)
    }


def _where_it_belongs(now: Picture) -> None:
    """Work that goes on either waits on its queue or is held, and the timer has it; what ended is nowhere."""
    waits, held = now.waits(), now.held()
    for work, fields in now.works.items():
        assert (work in waits) == (fields["state"] in WAITING[_kind(work)] and work not in held), (
            work
        )
        assert (work in held) == (fields["state"] in HELD[_kind(work)] and work not in waits), work
    assert all(now.works[work]["queue"] == queue for work, (queue, _) in waits.items())
    assert sum(len(queue) for queue in now.below("sl:waiting:").values()) == len(waits)
    assert {queue for queue, _ in waits.values()} <= set(now.keys.get("sl:queues", []))
    assert {
        work: worker for worker, works in now.below("sl:held:").items() for work in works
    } == held
    going_on = {order_id for order_id in now.orders if not now.ended(order_id)}
    assert set(now.keys.get("sl:due", {})) == going_on | set(waits) | set(held)


def _kind(work: str) -> str:
    return "order" if parse_work_id(work)[1] is None else "scan"
