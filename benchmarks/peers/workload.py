"""Makes what all contestants run on: one slide, the list of its tissue tiles, two networks."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks import gpu
from benchmarks.peers import networks, synthetic_slides
from benchmarks.peers.bigtiff import TILE_PX, Kinds
from benchmarks.peers.task import Task

SAMPLES = 288
"""Tiles that the networks are trained on."""


@contextmanager
def prepare(edge_px: int, most_tiles: Mapping[str, int], threads: int) -> Iterator[dict[str, Task]]:
    """Return a task for each network, with at most so many tiles spread over the tissue."""
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        folder = Path(name)
        slide = folder / "slide.svs"
        tiles = stored(slide, synthetic_slides.draw(slide, edge_px))
        samples = _decoded(slide, tiles[_spread(len(tiles), SAMPLES)])
        tasks = {}
        for network, most in most_tiles.items():
            listed = folder / f"{network}.npy"
            np.save(listed, tiles[_spread(len(tiles), most)])
            networks.save(network, folder / network, samples)
            tasks[network] = Task(
                str(slide), str(listed), str(folder / network), "", "", threads, 0, 0, gpu.seen()
            )
        yield tasks


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def stored(slide: Path, corners: Kinds) -> Kinds:
    """Return the tiles at these corners of level 0, (N, 4): x, y, stored offset and length."""
    with tifffile.TiffFile(slide) as tiff:
        page = tiff.pages.first
        across = -(-page.imagewidth // TILE_PX)
        numbers = corners[:, 1] // TILE_PX * across + corners[:, 0] // TILE_PX
        where = np.array([page.dataoffsets, page.databytecounts]).T
    return np.concatenate([corners, where[numbers]], axis=1)


def _decoded(slide: Path, tiles: Kinds) -> NDArray[np.uint8]:
    data = slide.read_bytes()
    return np.stack(
        [
            imagecodecs.jpeg8_decode(data[start : start + size])
            for start, size in tiles[:, 2:].tolist()
        ]
    )
