"""Measures how much memory a whole slide takes, as the slide grows a hundredfold.

A run lasts from opening the slide to its result files. It has a process of its own, with a decoder
process; both count. The network is small, so that a hundred thousand tiles take minutes; its result
is one square with probabilities for each tile. The memory is sampled twenty times a second, which
slows the processes, so the speeds can only be compared with each other.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import peak_memory
from benchmarks.comparison import Comparison
from benchmarks.peers import networks, synthetic_slides

WITHIN_S = 3600
NETWORK = "tiny-cnn"


def measure(
    rounds: int, edges_px: tuple[int, ...], report: Callable[[str], None]
) -> list[Comparison]:
    """Measure square slides of these edges in turns; the first one is the yardstick."""
    found: dict[int, list[dict[str, Any]]] = {edge_px: [] for edge_px in edges_px}
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        folder = Path(name) / NETWORK
        networks.save(
            NETWORK, folder, np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), np.uint8)
        )
        for edge_px in edges_px:
            synthetic_slides.draw(_slide(name, edge_px), edge_px, shared=True)
        for edge_px in edges_px * rounds:
            report(f"a whole slide of {_size(edge_px)}")
            command = [
                sys.executable,
                "-m",
                "benchmarks.whole_slide",
                str(_slide(name, edge_px)),
                str(folder),
            ]
            found[edge_px].append(peak_memory.run(command, {}, WITHIN_S, peak_memory.OFTEN_S))
    return [row for edge_px in edges_px for row in _rows(edge_px, edges_px[0], found)]


def _rows(
    edge_px: int, first_px: int, found: Mapping[int, Sequence[Mapping[str, Any]]]
) -> Iterator[Comparison]:
    for what, unit, name, scale in (
        (f"peak memory of {found[edge_px][0]['tiles']:,.0f} tiles", "MB", "peak_rss_bytes", 1e-6),
        ("opened to classified", "tiles/s", "tiles_per_s", 1.0),
    ):
        ours, theirs = ([one[name] * scale for one in found[px]] for px in (edge_px, first_px))
        ratios = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
        yield Comparison(
            f"{_size(edge_px)}, {what}", unit, median(ours), _size(first_px), median(theirs), ratios
        )


def _slide(folder: str, edge_px: int) -> Path:
    return Path(folder) / f"{edge_px}.svs"


def _size(edge_px: int) -> str:
    return f"{edge_px**2 / 1e9:.2g} gigapixels"
