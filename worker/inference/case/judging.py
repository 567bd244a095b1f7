"""Judges a case by the stored vectors of its scans, and makes the results of all scans."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from broker.errors import OrderError
from broker.orders.order import ScanWarning
from worker.algorithms.interface import Algorithm, SlideAlgorithm
from worker.inference.case.bag import Bag, EncodedScan, collect
from worker.inference.merging.slide_answer import BagAnswer, ask, store_measured
from worker.inference.merging.slide_summary import Judgement, case_summary, headline, left_out
from worker.progress import Progress, computing
from worker.results.embeddings import Embeddings
from worker.results.object_store import ObjectStore
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.result import Findings, Result


def case_network(algorithm: Algorithm) -> SlideAlgorithm:
    """Return the algorithm, which judges cases.

    Raise `OrderError`, `case_scans_differ`, where it no longer does.
    """
    if algorithm.card.scope == "case" and isinstance(algorithm, SlideAlgorithm):
        return algorithm
    raise OrderError(
        "case_scans_differ",
        f"scans of the order are encoded for a case, and {algorithm.card.name} "
        f"{algorithm.card.version} judges no cases",
        hint="the model was replaced while the order ran; place it again",
    )


@dataclass(frozen=True, slots=True)
class JudgedCase:
    """What is answered for a case, and the scans that it is answered for, in the order's order.

    `warnings` are reasons to doubt the answer, which stand with every scan.
    """

    scans: Sequence[EncodedScan]
    bag: Bag
    answer: BagAnswer
    warnings: tuple[ScanWarning, ...]


def judge(
    scans: Sequence[EncodedScan], algorithm: SlideAlgorithm, scratch: Path, progress: Progress
) -> JudgedCase:
    """Ask the network once about all tiles of all scans, and return its answer.

    The bag is in the order of `scans`, whichever was encoded last. It is written into `scratch`.

    Raise `OrderError` where the scans do not fit together or the answer is none, `TemporaryError`
    where the bag is too much for the device.
    """
    bag = collect(scans, algorithm.settings.max_tiles, scratch / "bag", progress)
    progress.report("judging", 0, 1)
    answer = BagAnswer(Judgement(len(scans), 0), None)
    if len(bag.features):
        with computing(progress):
            answer = ask(algorithm, bag.features, None, len(scans))
    progress.report("judging", 1, 1)
    return JudgedCase(scans, bag, answer, _warnings(scans, bag))


def results(
    case: JudgedCase, algorithm: SlideAlgorithm, scratch: Path, produced: Mapping[str, Any]
) -> Iterator[tuple[Result, OverlayDrawing]]:
    """Yield the result and the overlay of each scan, in the order's order.

    Each has the answer for the case, and the attention of its own tiles, whose ranks are those
    among all tiles of the case. `produced` says when and with what the case is judged. The objects
    are in a folder of `scratch`, one scan at a time.
    """
    provenance = _provenance(case)
    for number, scan in enumerate(case.scans):
        first = scan.result
        result = replace(
            first,
            card=algorithm.card,
            findings=_findings(case, number, algorithm, _squares(case, number, scratch)),
            provenance={**first.provenance, "case": provenance},
            produced={**first.produced, "case": dict(produced)},
            warnings=(*first.warnings, *case.warnings),
        )
        yield result, OverlayDrawing(scan.picture(), result)


def _warnings(scans: Sequence[EncodedScan], bag: Bag) -> tuple[ScanWarning, ...]:
    """Return what the answer was given without: tiles that are left out, scans without any."""
    warnings = left_out(bag.total, len(bag.features))
    empty = sorted(scan.result.scan_id for scan in scans if not len(scan.tiles))
    if not empty or not bag.total:
        return warnings
    detail = (
        f"no tissue was found in {len(empty)} of the {len(scans)} scans, by which the case is not "
        f"judged: {', '.join(empty)}"
    )
    return (*warnings, ScanWarning(code="scan_without_tissue", detail=detail))


def _squares(case: JudgedCase, number: int, scratch: Path) -> ObjectStore:
    """Return the tiles of a scan that are in the bag, with their attention; none without it."""
    folder = scratch / "attention"
    shutil.rmtree(folder, ignore_errors=True)
    squares = ObjectStore.begin(folder)
    measured = case.answer.measured
    if measured is not None:
        start, stop = case.bag.rows[number]
        tiles = case.scans[number].tiles
        store_measured(squares, tiles, case.bag.chosen[number], measured[start:stop])
    return squares


def _findings(
    case: JudgedCase, number: int, algorithm: SlideAlgorithm, squares: ObjectStore
) -> Findings:
    scan = case.scans[number]
    first = scan.result.findings
    card = algorithm.card
    judgement = case.answer.judgement
    own_tiles = len(case.bag.chosen[number])
    encoder = algorithm.encoder_settings
    return Findings(
        frame=first.frame,
        area=first.area,
        objects=squares,
        summary=case_summary(card, judgement, own_tiles, first.summary["precision"]),
        headline=headline(card, judgement, algorithm.settings),
        embeddings=Embeddings(
            scan.tiles, scan.tiles.dimensions, encoder.store, card.encoder, encoder.squares
        ),
    )


def _provenance(case: JudgedCase) -> list[dict[str, Any]]:
    """Return which scans the case is judged by, in the order's order."""
    return [
        {
            "scan": scan.result.scan_id,
            "slide_digest": scan.result.provenance["slide_digest"],
            "tiles": len(chosen),
        }
        for scan, chosen in zip(case.scans, case.bag.chosen, strict=True)
    ]
