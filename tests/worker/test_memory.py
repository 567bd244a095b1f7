"""A batch that does not fit is tried in halves."""

import numpy as np
import pytest
import torch

from broker.errors import TemporaryError
from worker.algorithms.memory import sparing
from worker.values import Pixels


def test_a_batch_too_large_is_halved_until_it_fits() -> None:
    """Every tile is answered once, in order."""
    sizes: list[int] = []

    def run(batch: Pixels) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [int(tile.flat[0]) for tile in batch]

    batch = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    assert sparing(run, batch) == list(range(7))
    assert sizes[0] == 7


def test_one_tile_too_large_is_worth_another_try_elsewhere() -> None:
    """It is the device's fault, not the slide's."""

    def run(_: Pixels) -> list[int]:
        raise MemoryError

    with pytest.raises(TemporaryError) as caught:
        sparing(run, np.zeros((3, 1, 1, 1), np.uint8))
    assert caught.value.code == "out_of_memory"
