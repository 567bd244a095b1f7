"""Finds dark spots, tile by tile: replace `classify` with your own."""

import numpy as np

from slidelane.algorithms import Card, Class, Found


class Algorithm:
    """Slidelane makes one in each worker process, and calls `classify` for many tiles."""

    card = Card(
        title="Dark spots",
        output="objects",
        mpp=1.0,
        input_px=512,
        halo_px=32,
        classes=(Class("spot", "#d55e00"),),
        post={"object_um": 8.0},
    )

    def classify(self, batch: np.ndarray) -> list[list[Found]]:
        """Return what is found in each tile of `batch`, uint8 (n, 512, 512, 3).

        Places are pixels of the tile, its halo included: x to the right, y down.
        """
        return [spots(tile) for tile in batch]


def spots(tile: np.ndarray) -> list[Found]:
    """Return the darkest pixel of each square of 16 pixels, where it is dark enough."""
    cells = tile.mean(axis=2).reshape(32, 16, 32, 16).transpose(0, 2, 1, 3).reshape(32, 32, 256)
    darkest = cells.argmin(axis=2)
    rows, columns = np.nonzero(cells.min(axis=2) < 110)
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        y, x = divmod(int(darkest[row, column]), 16)
        found.append(Found(16 * column + x + 0.5, 16 * row + y + 0.5, "spot"))
    return found
