"""What everybody runs on: one slide, the list of its tissue tiles, two networks; drawn for one run of the benchmark."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.race import networks, slides
from benchmarks.race.task import Task
from benchmarks.race.tiff import TILE_PX, Kinds

SAMPLES = 32


@contextmanager
def laid(edge_px: int, most_tiles: int, threads: int) -> Iterator[dict[str, Task]]:
    """A task for each network by its name: the same slide and at most so many tiles, spread over its tissue."""
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        folder = Path(name)
        slide, listed = folder / "slide.svs", folder / "tiles.npy"
        corners = slides.draw(slide, edge_px)
        if len(corners) > most_tiles:
            corners = corners[np.linspace(0, len(corners) - 1, most_tiles).astype(int)]
        tiles = stored(slide, corners)
        np.save(listed, tiles)
        samples = _decoded(slide, tiles[:: max(1, len(tiles) // SAMPLES)][:SAMPLES])
        tasks = {}
        for network in networks.NETWORKS:
            networks.save(network, folder / network, samples)
            tasks[network] = Task(str(slide), str(listed), str(folder / network), "", "", threads, 0, 0)
        yield tasks


def stored(slide: Path, corners: Kinds) -> Kinds:
    """The tiles at these corners of level 0, (N, 4): x, y, offset and length of what is stored."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        across = -(-page.imagewidth // TILE_PX)
        numbers = corners[:, 1] // TILE_PX * across + corners[:, 0] // TILE_PX
        where = np.array([page.dataoffsets, page.databytecounts]).T
    return np.concatenate([corners, where[numbers]], axis=1)


def _decoded(slide: Path, tiles: Kinds) -> NDArray[np.uint8]:
    data = slide.read_bytes()
    return np.stack([imagecodecs.jpeg8_decode(data[start : start + size]) for start, size in tiles[:, 2:].tolist()])
