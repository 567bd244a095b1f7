"""The tables of moves, looked at as a whole: no Redis, every path."""

from collections.abc import Iterable, Mapping

import pytest

from broker.orders.order import REOPENED, TRANSITIONS

CLAIMED = {"queued": {"fetching"}, "staged": {"classifying"}}


def reached(moves: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """Every state that these moves lead to, the first one included."""
    found: set[str] = set()
    ahead = {start}
    while ahead:
        found |= ahead
        ahead = {to for state in ahead for to in moves.get(state, ())} - found
    return found


@pytest.mark.parametrize("kind", ["order", "scan"])
def test_every_state_is_reached_from_the_first_and_leads_to_an_end(kind: str) -> None:
    """By the tables alone no state is out of reach and none is a trap."""
    moves = TRANSITIONS[kind]
    assert reached(moves, "queued") == set(moves)
    assert all(any(not moves[end] for end in reached(moves, state)) for state in moves)


@pytest.mark.parametrize(("kind", "for_good"), [("order", set()), ("scan", {"classified"})])
def test_only_what_went_well_is_over_for_good(kind: str, for_good: set[str]) -> None:
    """From every other end, and from no other state, there is a way back to a state that goes
    on. A delivered order goes on to a new destination."""
    moves, ways_out = TRANSITIONS[kind], REOPENED[kind]
    assert {state for state in moves if not moves[state]} == set(ways_out) | for_good
    assert all(moves[to] for row in ways_out.values() for to in row)


@pytest.mark.parametrize("kind", ["order", "scan"])
def test_nothing_goes_round_without_being_taken(kind: str) -> None:
    """A state comes again only after a claim, which counts; so nothing goes round unseen."""
    moves = {
        state: set(row) - CLAIMED.get(state, set()) for state, row in TRANSITIONS[kind].items()
    }
    assert all(state not in reached(moves, to) for state, row in moves.items() for to in row)
