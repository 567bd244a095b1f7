"""Writes objects.csv: one row for each object, for spreadsheets and statistics.

The columns of tiles begin with those of WSInfer, so that scripts made for it read the file.
"""

import csv
import io
from collections.abc import Sequence
from typing import BinaryIO

from worker.results.files.geojson import AREA, ObjectIds, um2_per_px2
from worker.results.json_text import significant
from worker.results.polygons import Ring
from worker.results.result import Result


class TableWriter:
    """Writes the rows of a scan's objects, batch by batch, in level-0 pixels.

    The columns of tiles are whole pixels and probabilities. Other objects have the id of their
    GeoJSON feature, their centre and box to a tenth of a pixel, their size in square microns where
    the size of a pixel is known, and the measurements of the algorithm's card. Tiles without a
    class have their id, centre and box in whole pixels, and these measurements.
    """

    def __init__(self, result: Result, file: BinaryIO) -> None:
        card = result.card
        self._file = file
        self._ids = ObjectIds(result)
        self._um2_per_px2 = um2_per_px2(result)
        self._classes = [_quoted([entry.name]) for entry in card.object_classes]
        probabilities = [f"prob_{entry.name}" for entry in card.classes]
        self._no_probabilities = "," * len(probabilities)
        if card.output == "tiles":
            self._row = self._tile
            columns = ["minx", "miny", "width", "height", *probabilities, "class", "score"]
        elif not card.object_classes:
            self._row = self._unclassified
            columns = ["id", "x", "y", "minx", "miny", "width", "height", *card.measurements]
        else:
            self._row = self._object
            columns = ["id", "class", "x", "y", "score", AREA, "minx", "miny", "width", "height"]
            columns += card.measurements
        self._file.write(f"{_quoted(columns)}\n".encode())

    def add(self, batch: Sequence[Ring]) -> None:
        """Write a row for each ring."""
        self._file.write("".join([self._row(ring) for ring in batch]).encode())

    def _tile(self, ring: Ring) -> str:
        left, top, right, bottom = map(round, ring.bbox)
        values = self._no_probabilities  # of a function that answers a class alone
        if len(ring.probabilities):
            values = "".join([f"{round(value, 4)}," for value in ring.probabilities])
        return (
            f"{left},{top},{right - left},{bottom - top},{values}"
            f"{self._classes[ring.kind]},{round(ring.score, 4)}\n"
        )

    def _unclassified(self, ring: Ring) -> str:
        """Return the row of a tile with a vector or a measurement: its centre and its box."""
        x, y = ring.centre
        left, top, right, bottom = map(round, ring.bbox)
        values = "".join([f",{significant(value)}" for value in ring.measurements])
        return (
            f"{self._ids.of(ring.number)},{x:.1f},{y:.1f},"
            f"{left},{top},{right - left},{bottom - top}{values}\n"
        )

    def _object(self, ring: Ring) -> str:
        x, y = ring.centre
        left, top, right, bottom = ring.bbox
        area = ""
        if self._um2_per_px2 is not None:
            area = str(round(ring.area_px2 * self._um2_per_px2, 2))
        values = "".join([f",{round(value, 4)}" for value in ring.measurements])
        return (
            f"{self._ids.of(ring.number)},{self._classes[ring.kind]},{x:.1f},{y:.1f},"
            f"{round(ring.score, 4)},{area},{left},{top},"
            f"{right - left:.1f},{bottom - top:.1f}{values}\n"
        )


def _quoted(values: Sequence[str]) -> str:
    """Return the values as one line of CSV without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()
