"""`weights`: a trained network from a folder, tile by tile. Owns how it is loaded, made fast and asked.

What it takes and tells apart is `model_folder`'s. Half precision is used where it changes no probability by more than
the card allows, as tried on tiles of the scan itself.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import local
from typing import Any, Final
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.model_folder import Description, describe, network_file
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import fitting_batch, keep_freed, sparing
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.geometry.roi import size_mm2
from worker.slides.sandbox.shared_memory import SLOT_BYTES

_CPU_BATCH: Final = (
    4  # MobileNetV3 took 2.9, 3.1 and 3.2 ms for a tile in batches of 4, 8 and 16; of 2, 3.3
)
_GPU_BATCH: Final = 256
_WARM_UPS: Final = 3  # TorchScript looks at two runs before it settles how it computes


class Network:
    """A loaded network on one device, in one precision. Threads may share it."""

    def __init__(
        self, run: Callable[[Tensor], Tensor], said: Description, device: Device, kind: torch.dtype
    ) -> None:
        self._run, self._device, self._kind, self._edge = run, device, kind, said.input_px
        mean, deviation = (
            torch.tensor(values).repeat(said.input_px) for values in said.normalization
        )
        self._scale = (1 / (255 * deviation)).to(device.torch)
        self._shift = (-mean / deviation).to(device.torch)
        self._is_single, self._own = said.num_classes == 1, local()

    @torch.inference_mode()
    def __call__(self, batch: Pixels) -> Floats:
        """How likely each class is for each of N tiles (N, E, E, 3): (N, classes)."""
        with self._device.turn():
            answered = self._run(self._normalized(batch)).float()
            likely = torch.sigmoid(answered) if self._is_single else torch.softmax(answered, dim=1)
            told: Floats = likely.reshape(len(batch), -1).double().cpu().numpy()
        return told

    def warm_up(self, tiles: int) -> None:
        """Have everything that the first runs are slow for behind it, for batches of so many tiles."""
        for _ in range(_WARM_UPS):
            self(np.zeros((tiles, self._edge, self._edge, 3), np.uint8))

    def _normalized(self, batch: Pixels) -> Tensor:
        """(N, 3, E, E), its channels last in memory as they come. Row by row of pixels: three channels at a time are
        too few for a processor's vectors, and take over ten times as long.
        """
        tiles, edge = len(batch), self._edge
        rows = self._device.copied(batch).view(tiles, edge, 3 * edge)
        samples = self._room(rows, torch.float32).copy_(rows)
        torch.addcmul(self._shift, samples, self._scale, out=samples)
        if self._kind != torch.float32:
            samples = self._room(rows, self._kind).copy_(samples)
        return samples.view(tiles, edge, edge, 3).permute(0, 3, 1, 2)

    def _room(self, rows: Tensor, kind: torch.dtype) -> Tensor:
        """On a CPU each thread has buffers of its own: a new one would be zeroed by the kernel page by page."""
        if self._device.is_gpu:
            return torch.empty_like(rows, dtype=kind)
        room: Tensor | None = getattr(self._own, str(kind), None)
        if room is None or len(room) < len(rows):
            room = torch.empty_like(rows, dtype=kind)
            setattr(self._own, str(kind), room)
        return room[: len(rows)]


class TrainedNetwork:
    """The algorithm, on one device."""

    def __init__(self, card: AlgorithmCard, entry: AlgorithmSettings, device: Device) -> None:
        """Raises `ConfigError` for a folder or file that holds no network."""
        if entry.folder is None:
            raise ConfigError(f"worker.algorithms.{card.name}.folder: the kind `weights` needs one")
        self.card, self._device = card, device
        self._full, self.batch_tiles = _loaded(card, entry, device, torch.float32)
        self._half = (
            _loaded(card, entry, device, device.half)[0] if card.tolerance and device.half else None
        )

    def calibrate(self, samples: Pixels) -> "TileScorer":
        """Choose the precision: half where it stays within the card's tolerance on these tiles."""
        if self._half is None or not len(samples):
            return TileScorer(self.card, self._full, "float32")
        off = max(
            float(np.abs(self._full(one) - self._half(one)).max()) for one in samples[:, None]
        )
        if off > self.card.tolerance:
            return TileScorer(self.card, self._full, "float32")
        return TileScorer(self.card, self._half, str(self._device.half).removeprefix("torch."))


class TileScorer:
    """The algorithm for one scan. May be called from several threads at once."""

    def __init__(self, card: AlgorithmCard, network: Network, precision: str) -> None:
        self._card, self._network, self.precision = card, network, precision

    def classify(self, batch: Pixels) -> Floats:
        """How likely each class is for each tile (N, E, E, 3): (N, classes)."""
        return sparing(self._network, batch, lambda one, other: np.concatenate([one, other]))

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """How many tiles are likeliest of each class, and the share of the looked-at tissue that is."""
        total = sum(counts)
        names = [entry.name for entry in self._card.classes]
        shares = {
            name: count / total if total else None
            for name, count in zip(names, counts, strict=True)
        }
        summary = {
            "tiles": total,
            "tiles_by_class": dict(zip(names, counts, strict=True)),
            "share_by_class": shares,
            "area_mm2": size_mm2(area, frame),
            "precision": self.precision,
        }
        if not total:
            return summary, "no tissue found"
        told = ", ".join(
            f"{name} {100 * count / total:.1f} %" for name, count in zip(names, counts, strict=True)
        )
        return summary, f"{total:,} tiles: {told}"


@lru_cache(maxsize=2)
def _held(
    file: Path, _digest: str, device: Device, kind: torch.dtype, *, is_compiled: bool
) -> tuple[Network, int]:
    """Stays loaded from order to order: a small region must not wait for a network to be read and warmed up."""
    said = describe(file.parent.name, file.parent)
    network = Network(_runnable(file, device, kind, is_compiled=is_compiled), said, device, kind)
    most = min(device.batch(_CPU_BATCH, _GPU_BATCH), max(1, SLOT_BYTES // (3 * said.input_px**2)))
    batch_tiles = fitting_batch(network.warm_up, device, most)
    if not device.is_gpu:
        keep_freed()
    network.warm_up(batch_tiles)
    return network, batch_tiles


def _loaded(
    card: AlgorithmCard, entry: AlgorithmSettings, device: Device, kind: torch.dtype
) -> tuple[Network, int]:
    file = network_file(card.name, entry.folder or Path())
    try:
        return _held(file, card.digest, device, kind, is_compiled=entry.compile)
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[-300:]
        raise ConfigError(
            f"worker.algorithms.{card.name}.folder: {file.name} does not run: {said}"
        ) from error


def _runnable(
    file: Path, device: Device, kind: torch.dtype, *, is_compiled: bool
) -> Callable[[Tensor], Tensor]:
    if file.suffix == ".pt2":
        module = torch.export.load(file).module().to(device.torch, kind)
        return torch.compile(module) if is_compiled else module
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)  # of TorchScript, which the zoo's networks are
        return _frozen(file, device, kind)


def _frozen(file: Path, device: Device, kind: torch.dtype) -> Callable[[Tensor], Tensor]:
    script: Any = torch.jit.load(file, map_location=device.torch).eval().to(kind)  # type: ignore[no-untyped-call]
    # not optimize_for_inference: on CPUs it made a small network four times as slow, and MobileNetV3 no faster
    frozen: Callable[[Tensor], Tensor] = torch.jit.freeze(
        script.to(memory_format=torch.channels_last)
    )
    return frozen
