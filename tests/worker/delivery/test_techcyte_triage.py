"""What a case is set to: given, computed from figures of its scans, or stated by an algorithm."""

from typing import Any

import pytest
from pydantic import ValidationError

from broker.orders.techcyte_options import Triage
from worker.delivery.destinations.techcyte.triage import case_fields

SUMMARIES = [
    {"labelling_index_pct": 12.5, "probabilities": {"tumor": 0.2}, "class": "benign"},
    {"labelling_index_pct": 40, "probabilities": {"tumor": 0.9}, "nuclei": None},
]
BY_SCORE = {"High": 30, "Medium": 10, "Low": 0}


def triage(**fields: Any) -> Triage:
    return Triage.model_validate(fields)


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"score": 0.5}, {"triage_score": 0.5}),
        ({"category": "High"}, {"triage_category": "High"}),
        (
            {"triage_category": "High", "triage_score": 1},
            {"triage_category": "High", "triage_score": 1},
        ),
        ({"score": "labelling_index_pct"}, {"triage_score": 40.0}),
        ({"score": "probabilities.tumor"}, {"triage_score": 0.9}),
        (
            {"score": "labelling_index_pct", "category": BY_SCORE},
            {"triage_score": 40.0, "triage_category": "High"},
        ),
        (
            {"score": 29.9, "category": BY_SCORE},
            {"triage_score": 29.9, "triage_category": "Medium"},
        ),
        ({"score": -1, "category": BY_SCORE}, {"triage_score": -1}),
    ],
    ids=str,
)
def test_the_order_says_what_is_set(given: dict[str, Any], fields: dict[str, Any]) -> None:
    """A number or a figure, of which the highest of all scans counts; a word, or one by score."""
    assert case_fields(triage(**given), SUMMARIES) == fields


@pytest.mark.parametrize("name", ["nuclei", "class", "probabilities", "probabilities.none", "x.y"])
def test_a_figure_that_no_scan_has_is_named(name: str) -> None:
    """Nothing is made up in its place."""
    with pytest.raises(ValueError, match=f"no scan has a number '{name}'"):
        case_fields(triage(score=name), SUMMARIES)


@pytest.mark.parametrize(
    "given",
    [{}, {"category": {"High": 1}}, {"category": {}}, {"other": 1}, {"score": True}],
    ids=str,
)
def test_a_triage_that_says_nothing_is_refused(given: dict[str, Any]) -> None:
    """When the order is placed."""
    with pytest.raises(ValidationError):
        triage(**given)


def test_an_algorithm_may_state_it() -> None:
    """The scan with the highest score decides; what the order says goes before it."""
    stated: list[dict[str, Any]] = [
        {"triage": {"triage_category": "Low"}},
        {"triage": {"triage_category": "High", "triage_score": 0.9, "more": 1}},
        {"triage": {"triage_score": 0.2}},
    ]
    expected = {"triage_category": "High", "triage_score": 0.9}
    assert case_fields(None, stated) == expected
    assert case_fields(triage(category="Low"), stated) == {"triage_category": "Low"}
    assert case_fields(None, [*SUMMARIES, {"triage": "High"}, {"triage": {}}]) == {}
