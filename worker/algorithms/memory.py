"""What to do when the device has no memory left. Knows torch, and no algorithm."""

from collections.abc import Callable
from typing import TypeVar

import torch

from broker.errors import TemporaryError
from worker.values import Pixels

_Found = TypeVar("_Found")


def sparing(run: Callable[[Pixels], list[_Found]], batch: Pixels) -> list[_Found]:
    """`run` on the batch (N, …), or on halves of it where its memory does not suffice.

    Raises `TemporaryError("out_of_memory")` when even one tile is too much: another time, or another worker, may do.
    """
    try:
        return run(batch)
    except (torch.OutOfMemoryError, MemoryError) as error:
        if len(batch) <= 1:
            raise TemporaryError("out_of_memory", f"one tile is too much for the device: {error}"[:300]) from None
    release()
    half = len(batch) // 2
    return sparing(run, batch[:half]) + sparing(run, batch[half:])


def release() -> None:
    """Give memory that is cached and not used back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
