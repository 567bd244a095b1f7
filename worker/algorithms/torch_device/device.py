"""The device that computes: a CPU or a GPU, how threads share it, how pixels get there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import SimpleQueue
from typing import Final

import torch

from broker.settings.config import ConfigError
from worker.algorithms.torch_device.pinned_memory import pinned_memory
from worker.geometry.frame import Pixels

TURNS: Final = 2
"""Batches that are on a GPU at the same time: one is copied while another one computes."""


class Device:
    """A CPU or a GPU. Threads may share it."""

    def __init__(self, device: torch.device) -> None:
        self.torch = device
        self._pinned = pinned_memory(device)
        self._streams: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        if self.is_gpu:
            for _ in range(TURNS):
                self._streams.put(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

    @property
    def is_gpu(self) -> bool:
        """Whether it is a card with memory of its own."""
        return self.torch.type == "cuda"

    def batch(self, on_cpu: int, on_gpu: int) -> int:
        """Return the tiles at a time: on a CPU each core has a batch that its cache can hold."""
        if self.is_gpu:
            return on_gpu
        return on_cpu

    @property
    def half(self) -> torch.dtype | None:
        """The half precision that is faster than the full one on this device, or None."""
        if self.is_gpu:
            return torch.float16
        has_avx512 = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - there is no public one
        has_amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001
        if has_avx512 or has_amx:
            return torch.bfloat16
        return None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn to compute and hold it.

        On a GPU at most `TURNS` threads compute at a time, each in a stream of its own. On a CPU
        there is nothing to wait for.
        """
        if not self.is_gpu:
            yield
            return
        stream = self._streams.get()
        try:
            with torch.cuda.device(self.torch), torch.cuda.stream(stream):
                yield
        finally:
            try:
                # also after a failure: memory that a copy reads from may be overwritten next
                stream.synchronize()
            finally:
                self._streams.put(stream)

    def copied(self, batch: Pixels) -> torch.Tensor:
        """Return the batch on the device; must be called within a `turn`.

        The batch must not change until the turn ends. On a CPU the result shares the batch's
        memory and must not be written to.
        """
        if not self.is_gpu:
            return torch.from_numpy(batch)
        if not self._pinned.hold(batch):
            batch = batch.copy()
        return torch.from_numpy(batch).to(self.torch, non_blocking=True)


@cache
def resolve(name: str) -> Device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    Raises ConfigError where there is no such device.
    """
    count = torch.cuda.device_count()
    if name == "auto" and count:
        return Device(torch.device("cuda:0"))
    if name == "auto":
        return Device(torch.device("cpu"))
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(
            f"worker.device: {name} is a GPU that torch does not see (it sees {count}); "
            "use auto or cpu"
        )
    return Device(device)


def device_and_torch(name: str) -> tuple[str, str]:
    """Return the device that `name` means, a GPU with its model, and the version of torch.

    Raises ConfigError where there is no such device.
    """
    device = resolve(name)
    if not device.is_gpu:
        return "cpu", torch.__version__
    model = torch.cuda.get_device_name(device.torch)
    return f"{device.torch} ({model})", torch.__version__


def describe(device: Device) -> dict[str, str | int]:
    """Return the device as records name it; a GPU with its memory in bytes."""
    if not device.is_gpu:
        return {"device": str(device.torch), "name": f"{torch.get_num_threads()} CPU threads"}
    card = torch.cuda.get_device_properties(device.torch)
    return {"device": str(device.torch), "name": card.name, "memory_bytes": card.total_memory}


def set_compute_threads(count: int) -> None:
    """Let one call of torch use so many cores, in threads that begin after this."""
    torch.set_num_threads(count)


def names() -> list[str]:
    """Return the GPUs that torch sees, by the names that CUDA_VISIBLE_DEVICES takes.

    These names stay the same whatever other GPUs are visible.
    """
    return [
        f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        for index in range(torch.cuda.device_count())
    ]
