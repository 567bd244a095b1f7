"""Computes colours of tiles from their vectors: similar vectors get similar colours."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Pixels
from worker.results.embeddings import Embeddings

SAMPLES: Final = 512
"""So many vectors, evenly spaced, decide the components: more would not be seen in the colours."""
_ENDS_PCT: Final = (2, 98)
"""A component's darkest and brightest colours are these percentiles, so that no outlier dims it."""
_DARKEST: Final = 40
_BRIGHTEST: Final = 235
_Sample = NDArray[np.float64]


def component_colors(embeddings: Embeddings) -> Pixels:
    """Return a colour for each tile, (T, 3): the first three principal components of its vector.

    Red is the first. The same vectors give the same colours.
    """
    tiles = len(embeddings.tiles)
    if not tiles:
        return np.empty((0, 3), np.uint8)
    sample = _sample(embeddings, tiles)
    mean = sample.mean(axis=0)
    axes = _axes(sample - mean)
    low, high = np.percentile((sample - mean) @ axes, _ENDS_PCT, axis=0)
    span = np.where(high > low, high - low, np.inf)
    colors = []
    for chunk in embeddings.tiles.feature_chunks():
        shares = ((chunk - mean) @ axes - low) / span
        # a component that does not vary is in the middle
        shares = np.where(high > low, shares.clip(0, 1), 0.5)
        colors.append(np.rint(_DARKEST + (_BRIGHTEST - _DARKEST) * shares).astype(np.uint8))
    return np.concatenate(colors)


def _sample(embeddings: Embeddings, tiles: int) -> _Sample:
    """Return evenly spaced vectors, (N, D)."""
    step = -(-tiles // SAMPLES)
    parts = []
    first = 0
    for chunk in embeddings.tiles.feature_chunks():
        parts.append(chunk[-first % step :: step].astype(np.float64))
        first += len(chunk)
    return np.concatenate(parts)


def _axes(centred: Floats) -> Floats:
    """Return the directions in which the vectors (N, D) vary most, (D, 3); zeros where none is.

    The largest number of each is positive, since a direction has no sign of its own.
    """
    dimensions = centred.shape[1]
    axes = np.zeros((dimensions, 3))
    # few vectors of many numbers: the eigenvectors of (N, N) are found sooner than those of (D, D)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    largest = values[-1]
    for number in range(min(3, len(values))):
        place = len(values) - 1 - number
        if values[place] <= 1e-12 * largest:
            break
        axis = vectors[:, place] @ centred
        axis /= np.linalg.norm(axis)
        if axis[np.abs(axis).argmax()] < 0:
            axis = -axis
        axes[:, number] = axis
    return axes
