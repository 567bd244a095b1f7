"""What counts as ours among the evaluations of a case: ids are integers, and others are there."""

from typing import Any

import pytest

from worker.delivery.destinations.techcyte.evaluations import as_integer, holds_results

TASK = "dGFzazoxODU3MTQ="


def evaluation(task: Any, order_id: str = "ord-1") -> dict[str, Any]:
    report = {"summary": "4 of 9", "order_id": order_id}
    return {
        "id": 31, "sample_id": 8946136, "case_id": 55, "task_id": task,
        "details": {"report": report},
    }  # fmt: skip


@pytest.mark.parametrize("task_id", [TASK, "185714"])
def test_our_task_is_known_by_its_integer(task_id: str) -> None:
    """An order has the task as text, the list as a number."""
    assert holds_results([evaluation(7), evaluation(185714)], task_id, "ord-1")
    assert not holds_results([evaluation(185714, "ord-2")], task_id, "ord-1")


def test_the_same_order_at_another_task_is_not_ours() -> None:
    """Results that were delivered to one task of a case say nothing of the next one."""
    assert not holds_results([evaluation(185713)], TASK, "ord-1")
    assert not holds_results([evaluation("185713")], TASK, "ord-1")


def test_what_says_of_no_task_counts() -> None:
    """A wrong no would deliver twice; nobody else has our order's id."""
    unnamed = evaluation(None)
    del unnamed["task_id"]
    for one in (unnamed, evaluation(None), evaluation("a task"), ["ord-1"]):
        assert holds_results([one], TASK, "ord-1")
    assert holds_results([evaluation(185714)], "a task of letters", "ord-1")


def test_people_and_other_algorithms_are_passed_over() -> None:
    """Whatever else stands in the list."""
    others: list[Any] = [
        {"id": 1, "task_id": 185714, "details": None},
        {"id": 2, "task_id": 185714, "details": {"report": {"order_id": ["ord-12"]}}},
        None,
        7,
    ]
    assert not holds_results(others, TASK, "ord-1")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7), ("7", 7), ("007", 7), (TASK, 185714), ("aHVtYW5DYXNlOjU1", 55),
        (True, None), (7.5, None), ("", None), ("seven", None), ("9" * 40, None), (None, None),
    ],
    ids=repr,
)  # fmt: skip
def test_an_id_is_read_as_an_integer(value: Any, number: int | None) -> None:
    """As a number, as digits, or as base64 of KIND:NUMBER."""
    assert as_integer(value) == number
