"""The heat map of caMicroscope 3: one document with a row for each tile.

Source: camicroscope/caMicroscope, `core/extension/osd-heatmap-overlay.js`. A row is
`[x, y, value, …]`, the top left corner of a tile and a value for each of `fields`.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from broker.orders.algorithm_card import AlgorithmCard
from worker.delivery.destinations.camicroscope.marks import DECIMALS
from worker.delivery.destinations.camicroscope.texts import plain
from worker.geometry.frame import Floats
from worker.results.objects import Objects
from worker.results.result import Result

MAX_BYTES: Final = 12 * 2**20
"""Of the rows in MongoDB, whose documents have at most 16 MB."""
_ROW_BYTES: Final = 14
_VALUE_BYTES: Final = 12
"""BSON: a type, the index as text and 8 bytes for each number; about the same around them."""
_VALUE_DECIMALS: Final = 4
_COLORS: Final = ("#2b83ba", "#ffffbf", "#d7191c")


def heat_map(results: Sequence[Result], execution_id: str) -> dict[str, Any] | None:
    """Return the heat map of all scans of an order, or None where no tile has a value.

    Tiles are merged, two by two and again, where there are more than a document can hold.
    """
    card = results[0].card
    shown = _shown_classes(card)
    tables = [_rows(result, shown) for result in results]
    sizes = np.concatenate([size for size, _ in tables])
    rows = np.concatenate([table for _, table in tables])
    if not len(rows):
        return None
    size = np.median(sizes, axis=0)
    while len(rows) * (_ROW_BYTES + rows.shape[1] * _VALUE_BYTES) > MAX_BYTES:
        size = size * 2
        rows = _merged(rows, size)
    return {
        "creator": "slidelane",
        "created_date": max(str(result.produced.get("at", "")) for result in results),
        "provenance": {"analysis": _analysis(card, shown, execution_id, size)},
        "data": _rounded(rows),
    }


def _rounded(rows: Floats) -> list[list[float]]:
    places = np.round(rows[:, :2], DECIMALS)
    values = np.round(rows[:, 2:], _VALUE_DECIMALS)
    rounded: list[list[float]] = np.hstack([places, values]).tolist()
    return rounded


def _analysis(
    card: AlgorithmCard, shown: Sequence[int], execution_id: str, size: Floats
) -> dict[str, Any]:
    names = [plain(card.object_classes[number].label) for number in shown]
    return {
        "source": "computer",
        "execution_id": execution_id,
        "name": plain(card.title),
        "computation": "heatmap",
        "coordinate": "normalized",
        "size": np.round(size, DECIMALS).tolist(),
        "fields": [{"name": name, "range": [0, 1], "value": [0.5, 1]} for name in names],
        "setting": {"mode": "gradient", "field": names[0], "colors": list(_COLORS)},
    }


def _shown_classes(card: AlgorithmCard) -> list[int]:
    """Return the numbers of the classes that are no background, or of all if there are no others.

    The viewer knows a field by its name: of classes with the same one, the first is shown.
    """
    numbers = range(len(card.object_classes))
    shown = [number for number in numbers if not card.object_classes[number].background]
    by_name: dict[str, int] = {}
    for number in shown or numbers:
        by_name.setdefault(card.object_classes[number].label, number)
    return list(by_name.values())


def _rows(result: Result, shown: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the size of each tile, (N, 2), and its row, (N, 2 + classes), as shares of the slide.

    x is a share of the slide's width, y of its height.
    """
    frame = result.findings.frame
    canvas = np.array([frame.width, frame.height], np.float64)
    sizes = [np.empty((0, 2))]
    rows = [np.empty((0, 2 + len(shown)))]
    for objects in result.findings.objects.chunks():
        corners = np.array([outline.min(axis=0) for outline in objects.outlines])
        far_corners = np.array([outline.max(axis=0) for outline in objects.outlines])
        sizes.append((far_corners - corners) / canvas)
        places = np.clip(corners / canvas, 0, 1)
        rows.append(np.hstack([places, _values(objects, shown)]))
    return np.concatenate(sizes), np.concatenate(rows)


def _values(objects: Objects, shown: Sequence[int]) -> Floats:
    """Return the probability of each shown class, or the score of the one that was chosen."""
    if objects.probabilities.size:
        return objects.probabilities[:, shown]
    is_chosen = objects.classes[:, None] == np.array(shown)
    return np.where(is_chosen, objects.scores[:, None], 0.0)


def _merged(rows: Floats, size: Floats) -> Floats:
    """Return a row for each cell of this size in which tiles begin: the mean of their values."""
    origin = rows[:, :2].min(axis=0)
    cells = np.floor((rows[:, :2] - origin) / size + 1e-6).astype(np.int64)
    unique, owner = np.unique(cells, axis=0, return_inverse=True)
    counts = np.bincount(owner.reshape(-1), minlength=len(unique))
    means = [
        np.bincount(owner.reshape(-1), weights=column, minlength=len(unique)) / counts
        for column in rows[:, 2:].T
    ]
    return np.column_stack([origin + unique * size, *means])
