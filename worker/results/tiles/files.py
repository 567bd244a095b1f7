"""Writes findings.pmtiles and findings.json of a result."""

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pmtiles.tile import zxy_to_tileid

from broker.orders.algorithm_card import ClassCard
from broker.orders.result_files import FINDINGS_JSON, FINDINGS_PMTILES
from worker.geometry.frame import Area, Frame
from worker.results.json_text import strict_json
from worker.results.object_store import ObjectStore
from worker.results.result import Result
from worker.results.tiles import outline_part
from worker.results.tiles.archive import ArchiveWriter
from worker.results.tiles.count_parts import count_parts
from worker.results.tiles.drawn_values import BINS, DrawnValues, drawn_classes
from worker.results.tiles.lattice_parts import LatticeParts, Place
from worker.results.tiles.levels import TILE_PX, Levels
from worker.results.tiles.placement import ObjectTile, place
from worker.results.tiles.stored_outlines import StoredOutlines

_HEAT_MAPS: Final = ("tiles", "slide")
"""What an algorithm answers where its objects are the tiles that it was given."""
SCHEMA: Final = "slidelane.findings/1"


def write(folder: Path, result: Result, store: ObjectStore) -> None:
    """Write both files into the folder; `store` holds the objects of the result.

    Memory grows by 32 bytes with each object. The same result gives the same bytes.
    """
    levels = Levels.of(result.findings.frame)
    classes = drawn_classes(result.card)
    histograms = [[0] * BINS for _ in classes]
    reach = 0.0
    with ArchiveWriter(folder / FINDINGS_PMTILES) as archive:
        if classes:
            tiles = _Tiles(store, result, levels)
            reach = tiles.write(archive)
            histograms = tiles.placement.histograms.tolist()
        grid = {
            "schema": SCHEMA,
            "width": levels.width,
            "height": levels.height,
            "T": TILE_PX,
            "Z": levels.finest,
            "reach": math.ceil(reach),
        }
        archive.finish(levels.finest, grid | {"classes": [entry.name for entry in classes]})
    members = [
        _class_member(entry, histogram)
        for entry, histogram in zip(classes, histograms, strict=True)
    ]
    document = grid | _for_people(result) | {"classes": members}
    (folder / FINDINGS_JSON).write_bytes(strict_json(document) + b"\n")


class _Tiles:
    """Encodes the tiles of a result's objects."""

    def __init__(self, store: ObjectStore, result: Result, levels: Levels) -> None:
        self._levels = levels
        self._is_heat_map = result.card.output in _HEAT_MAPS
        self._outlines = StoredOutlines(store, result.findings.frame)
        self._values = DrawnValues(store, result.card)
        self.placement = place(self._outlines, self._values, levels)

    def write(self, archive: ArchiveWriter) -> float:
        """Write all tiles; return how far the farthest outline reaches out of its tile.

        That is in pixels of the tile's zoom.
        """
        object_tiles = {
            zxy_to_tileid(tile.zoom, tile.x, tile.y): tile for tile in self.placement.tiles
        }
        grids = {zxy_to_tileid(*place): part for place, part in self._grids()}
        reach = 0.0
        for tile_id in sorted(object_tiles.keys() | grids.keys()):
            outlines = b""
            if tile_id in object_tiles:
                outlines, reaches = self._outline_part(object_tiles[tile_id])
                reach = max(reach, reaches)
            grid = grids.get(tile_id, b"")
            archive.add(tile_id, struct.pack("<I", len(outlines)) + outlines + grid)
        return reach

    def _grids(self) -> Iterable[tuple[Place, bytes]]:
        """Return the second part of each tile that has one, packed."""
        if self._is_heat_map:
            order = self.placement.order
            return LatticeParts(self._outlines, self._values, self._levels, order).make().items()
        return count_parts(self.placement.cells, self._values.classes, self._levels)

    def _outline_part(self, tile: ObjectTile) -> tuple[bytes, float]:
        """Return the packed outlines of a tile, and how far they reach out of it."""
        numbers = self.placement.order[tile.start : tile.stop]
        edge_px = self._levels.tile_px(tile.zoom)
        rings = self._outlines.of(numbers, are_clockwise=self.placement.are_clockwise)
        steps, lengths = outline_part.quantized(
            rings,
            (tile.x * edge_px, tile.y * edge_px),
            edge_px // TILE_PX,
            keeps_all=tile.zoom == self._levels.finest,
        )
        owners = numbers[rings.owners]
        part = outline_part.encode(
            owners,
            self._values.classes_of(owners),
            self._values.scores_of(owners),
            steps,
            lengths,
            wide=self._values.classes > outline_part.MAX_NARROW_CLASSES,
        )
        return part, outline_part.reach_px(steps, TILE_PX)


def _class_member(entry: ClassCard, histogram: list[int]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.label,
        "color": entry.color,
        "count": sum(histogram),
        "histogram": histogram,
    }


def _for_people(result: Result) -> dict[str, Any]:
    """Return what a viewer shows beside the objects."""
    findings = result.findings
    return {
        "mpp_x": findings.frame.mpp_x,
        "mpp_y": findings.frame.mpp_y,
        "headline": findings.headline,
        "summary": findings.summary,
        "roi": _region(findings.area, findings.frame),
        "output": result.card.output,
    }


def _region(area: Area, frame: Frame) -> dict[str, Any] | None:
    """Return the area that was looked at, or None where it is the whole slide."""
    whole = Area(0, 0, frame.width, frame.height)
    if area == whole:
        return None
    return area.as_dict()
