"""What Techcyte's `case_evaluations` say: whether results of ours are among them.

The list holds the evaluations of the whole case: other tasks, other algorithms, people. Its ids are
integers, while an order has them as text.
"""

import base64
import re
from typing import Any


def holds_results(evaluations: list[Any], task_id: str, order_id: str) -> bool:
    """Return whether an evaluation of the task holds the order's id, which our results carry.

    An evaluation that says of no task that it belongs to it counts as one of ours: a wrong no would
    deliver the results twice.
    """
    task = as_integer(task_id)
    return any(
        not _is_of_another_task(evaluation, task) and _contains_string(evaluation, order_id)
        for evaluation in evaluations
    )


def as_integer(value: Any) -> int | None:
    """Return the number of an id: an integer, its digits, or base64 of `KIND:NUMBER`; else None."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, int):
        return value
    if re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    try:
        text = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    match = re.fullmatch(rb"[A-Za-z]+:([0-9]{1,18})", text)
    if match is None:
        return None
    return int(match[1])


def _is_of_another_task(evaluation: Any, task: int | None) -> bool:
    if not isinstance(evaluation, dict):
        return False
    other = as_integer(evaluation.get("task_id"))
    return task is not None and other is not None and other != task


def _contains_string(document: Any, text: str) -> bool:
    """Return whether any value in the JSON document is the string `text`."""
    to_visit = [document]
    while to_visit:
        value = to_visit.pop()
        if isinstance(value, dict):
            to_visit.extend(value.values())
        elif isinstance(value, list):
            to_visit.extend(value)
        elif value == text:
            return True
    return False
