"""Tells stained tiles from pale ones: replace `classify` with your own."""

import numpy as np

from slidelane.algorithms import Card, Class


class Algorithm:
    """Slidelane makes one in each worker process, and calls `classify` for many tiles."""

    card = Card(
        title="Stained tiles",
        output="tiles",
        mpp=1.0,
        input_px=256,
        classes=(Class("pale", "#56b4e9"), Class("stained", "#d55e00")),
    )

    def classify(self, batch: np.ndarray) -> np.ndarray:
        """Return how likely each class is for each tile of `batch`, uint8 (n, 256, 256, 3)."""
        darkness = 1 - batch.mean(axis=(1, 2, 3)) / 255
        stained = 1 / (1 + np.exp(-40 * (darkness - 0.1)))
        return np.stack([1 - stained, stained], axis=1)
