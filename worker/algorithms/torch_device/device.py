"""Which device computes, whose turn it is there, and how pixels get there. Knows torch, and no algorithm."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue
from typing import Final

import torch

from broker.settings.config import ConfigError
from worker.algorithms.torch_device.pinned_memory import for_card
from worker.geometry.frame import Pixels

TURNS: Final = 2
"""Batches that are on a GPU at the same time: one is copied while another one computes."""


class Device:
    """A CPU or a GPU. Threads may share it."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        self._streams: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        for _ in range(TURNS if self.is_gpu else 0):
            self._streams.put(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
        self._pinned = for_card(device)

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card with memory of its own."""
        return self.torch.type == "cuda"

    def batch(self, on_cpu: int, on_gpu: int) -> int:
        """How many tiles at a time: on a CPU each core has its own batch, which its cache should hold."""
        return on_gpu if self.is_gpu else on_cpu

    @property
    def half(self) -> torch.dtype | None:
        """The half precision that it computes with faster than with the full one; None where there is none."""
        if self.is_gpu:
            return torch.float16
        has_avx512 = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - there is no public one
        has_amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001
        if has_avx512 or has_amx:
            return torch.bfloat16
        return None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Compute now: on a GPU in a stream of one's own, with few others beside; on a CPU at once."""
        if not self.is_gpu:
            yield
            return
        stream = self._streams.get()
        try:
            with torch.cuda.device(self.torch), torch.cuda.stream(stream):
                yield
        finally:
            try:
                stream.synchronize()  # also after a failure: the memory that a copy begins in may be written anew
            finally:
                self._streams.put(stream)

    def copied(self, batch: Pixels) -> torch.Tensor:
        """The batch on the device, asked for within a `turn`; until that ends it must stay as it is.

        On a CPU it is the batch's own memory, which nobody may write to.
        """
        if not self.is_gpu:
            return torch.from_numpy(batch)
        source = batch if self._pinned.hold(batch) else batch.copy()
        return torch.from_numpy(source).to(self.torch, non_blocking=True)


@cache
def resolve(name: str) -> Device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:N` names. Raises `ConfigError` where there is no such device."""
    count = torch.cuda.device_count()
    if name == "auto":
        return Device(torch.device("cuda:0" if count else "cpu"))
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(
            f"worker.device: {name} is a GPU that torch does not see (it sees {count}); use auto or cpu"
        )
    return Device(device)


def describe(device: Device) -> dict[str, str | int]:
    """The device as records name it; a GPU with its memory in bytes."""
    if not device.is_gpu:
        return {"device": str(device.torch), "name": f"{torch.get_num_threads()} CPU threads"}
    card = torch.cuda.get_device_properties(device.torch)
    return {"device": str(device.torch), "name": card.name, "memory_bytes": card.total_memory}


def compute_threads(count: int) -> None:
    """How many cores one call of torch may use, in threads that begin after this."""
    torch.set_num_threads(count)


def names() -> list[str]:
    """The GPUs that torch sees, each by the name that CUDA_VISIBLE_DEVICES takes for it, whatever else is visible."""
    return [
        f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        for index in range(torch.cuda.device_count())
    ]
