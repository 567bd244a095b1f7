"""Results with as many findings as are wanted, as the worker writes them for the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.page.painted_slide import MPP
from broker.orders.algorithm_card import AlgorithmCard, ClassCard
from worker.geometry.frame import Area, Floats, Frame, Ints
from worker.results.object_store import ObjectStore
from worker.results.result import Findings, Result
from worker.results.tiles import files

_CARD: Final = AlgorithmCard(
    name="ki67",
    version="1.0.0",
    digest="0" * 64,
    title="Ki-67 labelling index",
    description="counts nuclei",
    output="objects",
    mpp=MPP,
    classes=(
        ClassCard(name="negative", color="#1f6fd6", annotation_type="nucleus_negative"),
        ClassCard(name="positive", color="#c8321e", annotation_type="nucleus_positive"),
    ),
    parameters={"type": "object"},
)
_POINTS: Final = 12
_AT_ONCE: Final = 100_000


def write_findings(
    folder: Path, width: int, height: int, count: int, pitch_px: int, shapes: Sequence[Floats] = ()
) -> Path:
    """Write findings.json and findings.pmtiles into the folder, and return it.

    They hold `shapes`, positive with a score of 1, and `count` nuclei, which lie `pitch_px` apart,
    row by row, and not where a shape is.
    """
    store = ObjectStore.begin(folder / "objects")
    for shape in shapes:
        _append(store, shape[None], np.array([1]), np.array([1.0]))
    _append_nuclei(store, width, count, pitch_px, shapes)
    frame = Frame(width, height, MPP, MPP, "slide")
    findings = Findings(
        frame, Area(0, 0, width, height), store, {"nuclei": len(store)}, f"{len(store):,} nuclei"
    )
    result = Result(
        order_id="page",
        scan_id="1",
        card=_CARD,
        parameters={},
        findings=findings,
        provenance={},
        produced={},
    )
    files.write(folder, result, store)
    return folder


def _append_nuclei(
    store: ObjectStore, width: int, count: int, pitch_px: int, shapes: Sequence[Floats]
) -> None:
    """Append nuclei, the left of them mostly negative and the right mostly positive."""
    rng = np.random.default_rng(5)
    angles = np.arange(_POINTS) * 2 * np.pi / _POINTS
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = width // pitch_px
    for start in range(0, count, _AT_ONCE):
        numbers = np.arange(start, min(start + _AT_ONCE, count))
        places = np.stack([numbers % across, numbers // across], axis=1).astype(np.float64)
        centres: Floats = (places + 0.5) * pitch_px
        centres = centres[_is_free(centres, shapes, pitch_px)]
        some = len(centres)
        radii = rng.uniform(0.3, 0.45, (some, 1, 1)) * pitch_px
        classes = (rng.uniform(size=some) < centres[:, 0] / width).astype(np.int64)
        _append(store, centres[:, None] + radii * ring, classes, rng.beta(5, 2, some))


def _is_free(centres: Floats, shapes: Sequence[Floats], margin_px: int) -> NDArray[np.bool_]:
    free = np.ones(len(centres), np.bool_)
    for shape in shapes:
        low = shape.min(axis=0) - margin_px
        high = shape.max(axis=0) + margin_px
        free &= ((centres < low) | (centres > high)).any(axis=1)
    return free


def _append(store: ObjectStore, outlines: Floats, classes: Ints, scores: Floats) -> None:
    """Append N outlines of K points each, (N, K, 2), to the columns of the store.

    `ObjectStore.append` takes an array for each outline, which takes half a minute for a million.
    """
    count, points, _ = outlines.shape
    columns = {
        "centres": outlines.mean(axis=1).astype("<f8"),
        "scores": scores.astype("<f8"),
        "classes": classes.astype("<u2"),
        "lengths": np.full(count, points, "<u4"),
        "points": outlines.astype("<f8"),
    }
    for name, values in columns.items():
        with (store.folder / name).open("ab") as file:
            file.write(values.tobytes())
