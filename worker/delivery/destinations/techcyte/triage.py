"""What a case is set to once its results are there, from what was found in its scans."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.orders.techcyte_options import Triage

Summary = Mapping[str, Any]
STATED: Final = "triage"
"""The figure of a summary by which an algorithm states the triage itself, in Techcyte's fields."""


def case_fields(triage: Triage | None, summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return the body of Techcyte's `PATCH external/case`; empty where nothing is to be set.

    What the order says counts; else what an algorithm states as `triage` in the summary of a scan,
    of several the one with the highest score. Raise `ValueError` where the order's score is a
    figure that no scan has.
    """
    if triage is None:
        return _stated(summaries)
    fields: dict[str, Any] = {}
    score = _score(triage, summaries)
    if score is not None:
        fields["triage_score"] = score
    category = _category(triage, score)
    if category:
        fields["triage_category"] = category
    if not fields:
        raise ValueError("the order's triage says neither a score nor a category")
    return fields


def _stated(summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return what the algorithm states of the scan whose score is highest."""
    chosen: dict[str, Any] = {}
    for summary in summaries:
        stated = summary.get(STATED)
        if not isinstance(stated, Mapping):
            continue
        fields: dict[str, Any] = {}
        score = _number(stated.get("triage_score"))
        if score is not None:
            fields["triage_score"] = score
        category = stated.get("triage_category")
        if isinstance(category, str) and category:
            fields["triage_category"] = category
        if fields and (not chosen or _rank(fields) > _rank(chosen)):
            chosen = fields
    return chosen


def _rank(fields: Mapping[str, Any]) -> float:
    rank: float = fields.get("triage_score", -math.inf)
    return rank


def _score(triage: Triage, summaries: Sequence[Summary]) -> float | None:
    """Return the score: as it is given, or the highest of a figure over the scans."""
    if not isinstance(triage.score, str):
        return triage.score
    figures = [_figure(summary, triage.score) for summary in summaries]
    known = [figure for figure in figures if figure is not None]
    if not known:
        raise ValueError(f"no scan has a number {triage.score!r} in its summary")
    return max(known)


def _figure(summary: Summary, name: str) -> float | None:
    """Return a number of the summary by its name, with full stops between nested keys."""
    if name in summary:
        return _number(summary[name])
    value: Any = summary
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return _number(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _category(triage: Triage, score: float | None) -> str:
    """Return the category; empty where none is asked for or the score reaches none."""
    if not isinstance(triage.category, dict):
        return triage.category or ""
    if score is None:
        return ""
    reached = [(least, name) for name, least in triage.category.items() if score >= least]
    if not reached:
        return ""
    return max(reached)[1]
