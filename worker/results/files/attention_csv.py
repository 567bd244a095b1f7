"""Writes attention.csv: how much a network for slides looked at each tile."""

from pathlib import Path
from typing import Final

from worker.results.files.embeddings_h5 import corner_chunks
from worker.results.json_text import significant
from worker.results.result import Result

ATTENTION: Final = "attention"
ATTENTION_RANK: Final = "attention_rank"
MEASUREMENTS: Final = (ATTENTION, ATTENTION_RANK)
"""The measurements of a tile: what the network answers for it, and the tile's rank, 0 to 1."""


def write(file: Path, result: Result) -> None:
    """Write a row for each tile that the network was given, in the order of embeddings.h5.

    x and y are those of embeddings.h5: the upper left corner of what was seen, in level-0 pixels.
    """
    tiles = result.findings.objects
    with file.open("w", encoding="ascii", newline="") as rows:
        rows.write(f"x,y,{ATTENTION},{ATTENTION_RANK}\n")
        for chunk, corners in zip(tiles.chunks(), corner_chunks(tiles, result), strict=True):
            measured = zip(corners.tolist(), chunk.measurements.tolist(), strict=True)
            for (x, y), (attention, rank) in measured:
                rows.write(f"{x},{y},{significant(attention)},{significant(rank)}\n")
