"""Makes findings of what an `ImageFunction` answers for a slide."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.python.algorithm import ImageFindings, PythonScan
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import inside, size_mm2
from worker.inference.checkpoint import Checkpoint
from worker.inference.code_result import CodeResult
from worker.inference.scan_context import ScanContext, own_warning
from worker.progress import Stopwatch
from worker.results.objects import Objects
from worker.results.result import Findings
from worker.results.words import counted

_MOST_FILES: Final = 100
_SHOWN_FIGURES: Final = 4
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def process_image(
    scan: PythonScan, context: ScanContext, checkpoint: Checkpoint, clock: Stopwatch
) -> CodeResult:
    """Have the function look at the slide and store what it has found.

    What lies outside the area is dropped and counted in the warning `outside_roi`. Raises
    OrderError, StopWork.
    """
    context.report("classifying", 0, 1)
    with clock.measure("model"):
        found = scan.process_image()
    card = scan.card.model_copy(
        update={"classes": found.classes, "measurements": found.measurements}
    )
    is_inside = inside(found.objects.centres, context.area)
    objects = found.objects.selected(is_inside)
    dropped = len(found.objects) - len(objects)
    warnings = [own_warning(code, detail) for code, detail in found.warnings]
    if dropped:
        total = counted(len(found.objects), "object")
        detail = f"{dropped:,} of {total} outside the region that was ordered"
        warnings.append(ScanWarning(code="outside_roi", detail=detail))
    objects = _without_background(objects, card)
    with clock.measure("merge"):
        store, _ = checkpoint.begin(_work(card, context), 0)
        for chunk in objects.chunks():
            store.append(chunk)
    counts = objects.counts(len(card.classes))
    summary, headline = _figures(found, counts, card, context.frame, context.area)
    findings = Findings(context.frame, context.area, store, summary, headline)
    files = _named(found.files)
    return CodeResult(findings, card, {}, tuple(warnings), files, found.posted)


def _without_background(objects: Objects, card: AlgorithmCard) -> Objects:
    backgrounds = [number for number, entry in enumerate(card.classes) if entry.background]
    if not backgrounds:
        return objects
    return objects.selected(objects.classes != backgrounds[0])


def _work(card: AlgorithmCard, context: ScanContext) -> str:
    """Return a digest that no other attempt goes on from: a function begins at the beginning."""
    text = json.dumps([card.digest, context.order_id, context.scan_id])
    return hashlib.sha256(text.encode()).hexdigest()


def _figures(
    found: ImageFindings, counts: Sequence[int], card: AlgorithmCard, frame: Frame, area: Area
) -> tuple[dict[str, object], str]:
    """Return the function's own figures and headline, else how many there are of each class."""
    names = [entry.name for entry in card.classes]
    by_class = dict(zip(names, counts, strict=True))
    total = sum(counts)
    headline = found.headline or _headline(found, by_class, card)
    if found.summary is not None:
        return dict(found.summary), headline
    summary: dict[str, object] = {"objects": total, "objects_by_class": by_class}
    if frame.mpp_x is not None and frame.mpp_y is not None:
        area_mm2 = size_mm2(area, frame)
        summary["area_mm2"] = area_mm2
        summary["objects_per_mm2"] = total / area_mm2
    return summary, headline


def _headline(found: ImageFindings, by_class: Mapping[str, int], card: AlgorithmCard) -> str:
    """Return how many objects there are of each class; of a report without objects, its figures."""
    total = sum(by_class.values())
    shown = by_class
    if card.output == "report":
        if not total and found.summary:
            return _figures_in_words(found.summary) or card.title
        # classes are those of what may be drawn: none of one says nothing
        shown = {name: count for name, count in by_class.items() if count}
    headline = counted(total, "object")
    if shown:
        shares = ", ".join(f"{count:,} {name}" for name, count in shown.items())
        headline = f"{headline}: {shares}"
    return headline


def _figures_in_words(summary: Mapping[str, Any]) -> str:
    """Return the first numbers of a summary on one line."""
    numbers = [
        f"{name} {value:.6g}"
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return ", ".join(numbers[:_SHOWN_FIGURES])


def _named(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files under names that are fit for a folder of results.

    Raises AlgorithmAnswerError.
    """
    if len(files) > _MOST_FILES:
        raise AlgorithmAnswerError(f"files: {len(files)} are more than {_MOST_FILES}")
    for name in files:
        if not _FILE_NAME.fullmatch(name):
            raise AlgorithmAnswerError(
                f"files[{name[:100]!r}]: a name is letters, digits, '.', '_' and '-'"
            )
    return dict(files)
