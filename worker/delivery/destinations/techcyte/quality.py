"""The quality control of a scan at Techcyte: `qcFailReasons`.

Absent, it leaves the control as it is; an empty list records a pass; reasons that the lab has not
set up are shown as they are (Techcyte/devkit, posting-external-model-results).
"""

from collections.abc import Mapping
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.techcyte_options import QcFailReasons
from worker.results.result import Result

STATED: Final = "qc_fail_reasons"
"""The figure of a summary by which an algorithm states the reasons itself."""
_OF_THE_SLIDE: Final = frozenset(
    {"stain_unexpected", "slide_blurred", "pen_marks", "tissue_folds", "little_tissue"}
)
"""Warnings that speak against the slide, not against the order or the algorithm."""


def qc_fail_reasons(result: Result, wanted: QcFailReasons) -> list[str] | None:
    """Return the reasons, none of them for a pass, or None to leave the control alone.

    What an algorithm states of itself is passed on as it is. Our own warnings count where that is
    wanted, and only if the slide was looked at: a pass that nobody checked is never recorded.
    """
    stated = _stated(result.findings.summary)
    if stated is not None:
        return stated
    if wanted != "warnings" or not was_inspected(result.card):
        return None
    codes = [warning.code for warning in result.warnings if warning.code in _OF_THE_SLIDE]
    return list(dict.fromkeys(codes))


def was_inspected(card: AlgorithmCard) -> bool:
    """Return whether sample tiles of the slide were looked at for what speaks against it.

    That is so for every algorithm that is fed with tiles.
    """
    return card.output != "report" and card.mpp is not None


def _stated(summary: Mapping[str, object]) -> list[str] | None:
    reasons = summary.get(STATED)
    if not isinstance(reasons, list) or not all(isinstance(one, str) for one in reasons):
        return None
    return reasons
