"""Tells dark pixels from light ones: replace `classify` with your own."""

import numpy as np

from slidelane.algorithms import Card, Class


class Algorithm:
    """Slidelane makes one in each worker process, and calls `classify` for many tiles."""

    card = Card(
        title="Dark areas",
        output="mask",
        mpp=1.0,
        input_px=512,
        halo_px=32,
        classes=(Class("light", background=True), Class("dark", "#d55e00")),
        post={"min_area_um2": 20.0},
    )

    def classify(self, batch: np.ndarray) -> np.ndarray:
        """Return the class of each pixel of `batch`, uint8 (n, 512, 512, 3)."""
        return (batch.mean(axis=3) < 170).astype(np.int64)
