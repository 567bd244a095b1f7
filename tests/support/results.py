"""Results made by the tests: a few nuclei with outlines that differ, on a slide that is not
square."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from broker.orders.order import ScanWarning
from worker.geometry.frame import Area, Floats, Frame
from worker.results.objects import Objects, ObjectSource, joined
from worker.results.result import Findings, Result

FRAME = Frame(4000, 3000, 0.25, 0.26, "slide", bounds_x=16, bounds_y=8)
AREA = Area(1000, 500, 600, 400)
VIEWER_FILES = ("findings.json", "findings.pmtiles")
"""What every result has for viewers."""
WARNINGS = (ScanWarning(code="stain_unexpected", detail="it looks like H&E"),)


@dataclass(frozen=True)
class Drawn:
    """An overlay that is drawn already, for results that are saved without a slide."""

    content: bytes

    def png(self) -> bytes:
        return self.content


def a_card(output: Any = "objects") -> AlgorithmCard:
    return AlgorithmCard(
        name="ki67",
        version="1.2.0",
        digest="0" * 64,
        title="Ki-67 labelling index",
        description="counts nuclei",
        output=output,
        mpp=0.5,
        classes=(
            ClassCard(name="negative", color="#1f6fd6", annotation_type="nucleus_negative"),
            ClassCard(name="positive", color="#c8321e", annotation_type="nucleus_positive"),
        ),
        parameters={"type": "object"},
        measurements=("dab_od_mean",),
    )


def around(x: float, y: float, radius_px: float = 10.0, points: int = 12) -> Floats:
    """An open ring around a centre."""
    angles = np.arange(points) * 2 * np.pi / points
    return np.array([x, y]) + radius_px * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def objects(outlines: list[Floats], classes: list[int] | None = None) -> Objects:
    count = len(outlines)
    centres = np.array([outline.mean(axis=0) for outline in outlines]).reshape(count, 2)
    numbers = np.array(
        classes if classes is not None else [i % 2 for i in range(count)], dtype=np.int64
    )
    dab = np.linspace(0.05, 0.9, count, dtype=np.float32).astype(np.float64)
    return Objects(
        centres,
        tuple(outlines),
        numbers,
        np.linspace(0.5, 0.987654321, count),
        measurements=dab[:, None],
    )


def nuclei(count: int = 9, seed: int = 0) -> Objects:
    """Nuclei at random places of the area, wholly inside it."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(
        (AREA.x + 20, AREA.y + 20),
        (AREA.x + AREA.width - 20, AREA.y + AREA.height - 20),
        (count, 2),
    )
    return objects([around(x, y) for x, y in places])


def a_result(found: ObjectSource | None = None, **changed: Any) -> Result:
    """One scan's result; `frame`, `area`, `summary`, `card`, `scan_id` … replace the usual."""
    found = nuclei() if found is None else found
    count = len(found)
    positive = found.counts(2)[1]
    summary = {"nuclei": count, "labelling_index_pct": 100 * positive / count if count else None}
    findings = Findings(
        changed.pop("frame", FRAME),
        changed.pop("area", AREA),
        found,
        changed.pop("summary", summary | {"thresholds": {"dab_od": 0.15}}),
        f"{positive} of {count} nuclei are positive (\u2265 0.15)",
    )
    usual = {
        "order_id": "ord-1",
        "scan_id": "8946136",
        "card": a_card(),
        "parameters": {"positive_threshold": 0.15},
        "provenance": {"slide_digest": "ab" * 32},
        "produced": {"at": "2026-11-21T07:00:00+00:00", "device": "cpu"},
    }
    return Result(findings=findings, **(usual | changed))


def same(one: Result, other: Result) -> bool:
    """Whether two results are equal to the last bit."""
    first, second = (joined(list(result.findings.objects.chunks())) for result in (one, other))
    arrays = all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("centres", "classes", "scores", "measurements")
    )
    rings = len(first) == len(second) and all(map(np.array_equal, first.outlines, second.outlines))
    rest = [
        (
            r.order_id,
            r.scan_id,
            r.card,
            r.parameters,
            r.provenance,
            r.produced,
            r.warnings,
            r.findings.frame,
            r.findings.area,
        )
        for r in (one, other)
    ]
    texts = [(r.findings.summary, r.findings.headline) for r in (one, other)]
    return arrays and rings and rest[0] == rest[1] and texts[0] == texts[1]


def equal(one: Objects, other: Objects) -> bool:
    """Whether two sets of objects are the same to the last bit."""
    names = ("centres", "classes", "scores", "measurements")
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return (
        arrays and len(one) == len(other) and all(map(np.array_equal, one.outlines, other.outlines))
    )
