"""What is true of the record after every change: of one snapshot, and of two in a row."""

import json
from itertools import pairwise

from broker.orders.order import REOPENED, TRANSITIONS, OrderState, parse_work_id
from tests.support.record_snapshot import Snapshot

WAITING = {"scan": {"queued", "staged"}, "order": {"delivering"}}
HELD = {"scan": {"fetching", "classifying"}, "order": {"delivering"}}


def check(before: Snapshot, now: Snapshot, reopened: set[str]) -> None:
    """Raise `AssertionError` unless the record is sound.

    `reopened`: the orders that were tried or delivered again between the two snapshots.
    """
    for order_id in now.orders:
        _moved_along_the_tables(now, order_id)
        _counted(now, order_id)
        _delivered_by_a_claim(now, order_id)
        _cancelled_in_the_end(now, order_id)
        _credentials_until_delivered(now, order_id)
        if order_id in before.orders:
            _only_grew(before, now, order_id)
            assert not before.ended(order_id) or now.ended(order_id) or order_id in reopened
    _listed_once(now)
    _where_it_belongs(now)


def _path(now: Snapshot, order_id: str, scan: int | None) -> list[str]:
    """Return the states of the order, or of one of its scans, in the order of the log."""
    if scan is None:
        kind = "order"
        prefix = ""
        states = []
    else:
        kind = "scan"
        prefix = f"scan {now.scans(order_id)[scan]['id']}: "
        states = ["queued"]  # which the log does not say of a scan
    for text in now.log(order_id):
        if text.startswith(prefix):
            # a state may be followed by the reason
            state = text.removeprefix(prefix).partition(": ")[0]
            if state in TRANSITIONS[kind]:
                states.append(state)
    return states


def _moved_along_the_tables(now: Snapshot, order_id: str) -> None:
    """Every move is in the log and in a table, and the last one leads to the state of the
    record."""
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


def _counted(now: Snapshot, order_id: str) -> None:
    """`failed` and `open` are the counts of scans; a scan that was cancelled still counts as
    open."""
    states = [scan["state"] for scan in now.scans(order_id)]
    order = now.orders[order_id]
    assert int(order["failed"]) == states.count("failed")
    assert int(order["open"]) == len(states) - states.count("failed") - states.count("classified")
    if order["state"] in {"delivering", "delivered", "undelivered"}:
        assert set(states) == {"classified"}
        assert "awaits_case" not in order
    judges = [scan for scan in now.scans(order_id) if scan.get("judges_case") == "1"]
    if judges:
        (judge,) = judges
        others = [scan["state"] for scan in now.scans(order_id) if scan["id"] != judge["id"]]
        assert set(others) == {"classified"}
        assert order["awaits_case"] == "1"


def _delivered_by_a_claim(now: Snapshot, order_id: str) -> None:
    """Between `delivering` and `delivered` a courier claimed the delivery."""
    lines = now.log(order_id)
    if now.orders[order_id]["state"] == "delivered":
        since = len(lines) - lines[::-1].index("delivering")
        assert any(text.startswith("deliver taken by ") for text in lines[since:])


def _credentials_until_delivered(now: Snapshot, order_id: str) -> None:
    """The destination is kept for as long as it may be needed, and no longer."""
    order = now.orders[order_id]
    assert ("destination" in order) == (order["state"] != "delivered")
    assert "shown_destination" in order


def _cancelled_in_the_end(now: Snapshot, order_id: str) -> None:
    """A request to cancel waits only for a delivery that is under way."""
    if now.orders[order_id]["cancel"] == "1":
        assert now.ended(order_id) or (
            now.orders[order_id]["state"] == "delivering" and order_id in now.held()
        )


def _only_grew(before: Snapshot, now: Snapshot, order_id: str) -> None:
    """Fencing numbers never fall, and delivery attempts are never removed."""
    for work in before.works:
        if parse_work_id(work)[0] == order_id:
            assert int(now.works[work]["fence"]) >= int(before.works[work]["fence"])
    tried_before, tried = (
        [json.loads(attempt)["at"] for attempt in picture.below("sl:attempts:").get(order_id, [])]
        for picture in (before, now)
    )
    assert tried[: len(tried_before)] == tried_before


def _listed_once(now: Snapshot) -> None:
    """Each index holds the orders that it names, no others."""
    lists = {name: set(held) for name, held in now.below("sl:orders").items()}
    assert lists.get("", set()) == set(now.orders)
    assert lists.get(":algorithm:grid", set()) == set(now.orders)
    assert lists.get(":label:case=1", set()) == set(now.orders)
    assert lists.get(":creator:lab", set()) == set(now.orders)
    assert set(now.keys.get("sl:queued:lab", [])) == {
        order_id for order_id, order in now.orders.items() if order["state"] == "queued"
    }
    for state in OrderState:
        there = {order_id for order_id, order in now.orders.items() if order["state"] == state}
        assert lists.get(f":state:{state}", set()) == there
    assert set(now.keys.get("sl:ended", {})) == {
        order_id for order_id in now.orders if now.ended(order_id)
    }


def _where_it_belongs(now: Snapshot) -> None:
    """Unfinished work either waits on its queue or is held, and is due some time; ended work is
    not."""
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
