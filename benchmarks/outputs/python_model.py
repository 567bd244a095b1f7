"""The network of the folder `tiles` as an author writes it for the kind `python`.

This file is copied beside the network. It normalises with one multiplication, as `weights` does.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from slidelane.algorithms import Card, Class

CORES = len(os.sched_getaffinity(0))


class Tiles:
    """Answers how likely each of four classes is for a tile."""

    card = Card(
        title="Four classes",
        output="tiles",
        classes=(Class("a"), Class("b"), Class("c"), Class("d")),
        mpp=0.5,
        input_px=256,
        batch=4,
    )
    threads = CORES

    def load(self, device: str) -> None:
        """Load the network that lies beside this file."""
        file = str(Path(__file__).with_name("torchscript_model.pt"))
        loaded: Any = torch.jit.load(file, map_location=device)
        self.network: Any = torch.jit.freeze(loaded.eval().to(memory_format=torch.channels_last))

    def classify(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities for N tiles, (N, 4)."""
        with torch.inference_mode():
            pixels = torch.from_numpy(batch).permute(0, 3, 1, 2)  # channels last in memory
            scores = self.network(pixels.float().mul_(1 / 255))
            probabilities: NDArray[np.float32] = torch.softmax(scores, dim=1).numpy()
        return probabilities
