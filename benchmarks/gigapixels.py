"""How much memory a whole slide takes, from opening it to kept files, as the slide grows a hundredfold.

Each slide runs in a process of its own, with the decoder beside it; both count. A small network, so that a hundred
thousand tiles take minutes; what it finds is one square with three probabilities for each tile.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import watched
from benchmarks.race import networks, slides
from benchmarks.row import Row

WITHIN_S = 3600
NETWORK = "tiny-cnn"


def measure(edges_px: Sequence[int], say: Callable[[str], None]) -> list[Row]:
    """Square slides of these edges, the first one being the yardstick."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        folder = Path(name) / NETWORK
        networks.save(NETWORK, folder, np.random.default_rng(0).integers(0, 256, (64, 256, 256, 3), np.uint8))
        for edge_px in edges_px:
            slide = Path(name) / f"{edge_px}.svs"
            slides.draw(slide, edge_px, shared=True)
            say(f"a whole slide of {_size(edge_px)}")
            command = [sys.executable, "-m", "benchmarks.whole_slide", str(slide), str(folder)]
            found[edge_px] = watched.run(command, {}, WITHIN_S)
            slide.unlink()
    first = edges_px[0]
    return [
        row
        for edge_px in edges_px
        for row in (
            Row(f"{_size(edge_px)}, peak memory of {found[edge_px]['tiles']:,.0f} tiles", "MB",
                found[edge_px]["peak_rss_bytes"] / 1e6, _size(first), found[first]["peak_rss_bytes"] / 1e6),
            Row(f"{_size(edge_px)}, opened to classified", "tiles/s", found[edge_px]["tiles_per_s"], _size(first),
                found[first]["tiles_per_s"]),
        )
    ]  # fmt: skip


def _size(edge_px: int) -> str:
    return f"{edge_px**2 / 1e9:.2g} gigapixels"
