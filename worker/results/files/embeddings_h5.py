"""Writes embeddings.h5: the vector of each tile, in the layout that TRIDENT writes.

The layout is that of `save_h5` and `coords_to_h5` in `trident/IO.py` of mahmoodlab/TRIDENT at
a91fa84, which TRIDENT's slide encoders and CLAM read. docs/embeddings.md describes it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from worker.geometry.frame import Floats, Frame, Ints
from worker.results.embeddings import Embeddings
from worker.results.objects import ObjectSource
from worker.results.result import Result

VERSION: Final = "1"
_LIBVER: Final = ("earliest", "v108")
"""HDF5 1.8 and newer read the file. Its bytes do not depend on the library's own default."""
_MAGNIFICATIONS: Final = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))
"""Microns per pixel below which a slide counts as scanned at a magnification: TRIDENT's ladder."""


def write(file: Path, result: Result, embeddings: Embeddings) -> None:
    """Write the vectors and places of all tiles, at most `CHUNK` of them in memory.

    The same result gives the same bytes. Raises ValueError where the number of vectors is not that
    of the tiles.
    """
    tiles = len(embeddings.tiles)
    dimensions = embeddings.dimensions
    with h5py.File(file, "w", libver=_LIBVER) as target:
        features = target.create_dataset(
            "features",
            (tiles, dimensions),
            np.dtype(embeddings.store).newbyteorder("<"),
            chunks=(1, dimensions),
            maxshape=(None, dimensions),
            track_times=False,
        )
        coords = target.create_dataset(
            "coords", (tiles, 2), "<i8", chunks=(1, 2), maxshape=(None, 2), track_times=False
        )
        features.attrs.update(_shared_attributes(result) | {"encoder": embeddings.encoder})
        coords.attrs.update(_grid_attributes(result) | _shared_attributes(result))
        target.attrs.update(_own_attributes(result))
        start = 0
        pairs = zip(corner_chunks(embeddings.tiles, result), _vectors(embeddings), strict=True)
        for corners, vectors in pairs:
            stop = start + len(corners)
            coords[start:stop] = corners
            features[start:stop] = vectors
            start = stop


def corner_chunks(tiles: ObjectSource, result: Result) -> Iterator[Ints]:
    """Yield the upper left corners of what the network saw of each tile, (N, 2) each.

    They are level-0 pixels, x and y, rounded half to even; at most `CHUNK` at a time.
    """
    frame = result.findings.frame
    for chunk in tiles.chunks():
        corners = np.array([outline[0] for outline in chunk.outlines])
        yield seen_corners(corners, result.card.halo_px, _downsample(frame, result.card.mpp))


def seen_corners(corners: Floats, halo_px: int, downsample: tuple[float, float]) -> Ints:
    """Return the corners of tiles with their halo, (N, 2) in level-0 pixels, half to even.

    `corners` are those of the tiles without it; `downsample` is level-0 pixels per pixel of a tile.
    """
    seen: Ints = np.rint(corners - halo_px * np.array(downsample)).astype(np.int64)
    return seen


def patch_px_level0(input_px: int, downsample: tuple[float, float]) -> int:
    """Return the edge of what a network sees, in whole level-0 pixels."""
    return round(input_px * downsample[0])


def magnification(mpp: float | None) -> int | None:
    """Return the nominal magnification of a resolution, by TRIDENT's ladder."""
    if mpp is None:
        return None
    for below, nominal in _MAGNIFICATIONS:
        if mpp < below:
            return nominal
    return 1


def _vectors(embeddings: Embeddings) -> Iterator[Any]:
    for chunk in embeddings.tiles.feature_chunks():
        if chunk.shape[1] != embeddings.dimensions:
            raise ValueError(f"a vector has {chunk.shape[1]} numbers, not {embeddings.dimensions}")
        yield chunk.astype(embeddings.store)


def _downsample(frame: Frame, mpp: float | None) -> tuple[float, float]:
    if mpp is None or frame.mpp_x is None or frame.mpp_y is None:
        raise ValueError("tiles were read without knowing the size of a pixel")
    return mpp / frame.mpp_x, mpp / frame.mpp_y


def _shared_attributes(result: Result) -> dict[str, Any]:
    return {"name": result.slide_name, "savetodir": ""}


def _grid_attributes(result: Result) -> dict[str, Any]:
    frame = result.findings.frame
    card = result.card
    input_px = card.tile_px + 2 * card.halo_px
    attributes: dict[str, Any] = {
        "patch_size": input_px,
        "patch_size_level0": patch_px_level0(input_px, _downsample(frame, card.mpp)),
        "level0_magnification": magnification(frame.mpp_x),
        "target_magnification": magnification(card.mpp),
        "overlap": card.overlap_px,
        "level0_width": frame.width,
        "level0_height": frame.height,
    }
    # as TRIDENT writes None
    return {name: "None" if value is None else value for name, value in attributes.items()}


def _own_attributes(result: Result) -> dict[str, Any]:
    frame = result.findings.frame
    card = result.card
    return {
        "slidelane": VERSION,
        "mpp_x": frame.mpp_x,
        "mpp_y": frame.mpp_y,
        "algorithm": card.name,
        "digest": card.digest,
        "model_mpp": card.mpp,
    }
