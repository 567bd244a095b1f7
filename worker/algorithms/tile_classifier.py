"""The algorithm `weights`: a trained network from a folder that classifies tile by tile.

`model_folder` describes what the network takes and which classes it has. Half precision is used
where it changes no probability by more than the card allows, as measured on tiles of the scan.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms import exported_archive
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.model_folder import check_unchanged, describe, network_file
from worker.algorithms.network import Network, brief
from worker.algorithms.output_settings import TilesSettings
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import fitting_batch, keep_freed, sparing
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.geometry.roi import size_mm2

# MobileNetV3 took 3.3, 2.9, 3.1 and 3.2 ms for a tile in batches of 2, 4, 8 and 16.
_CPU_BATCH: Final = 4
_GPU_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class _LoadOptions:
    """Everything that a loaded network depends on besides its file."""

    device: Device
    precision: torch.dtype
    is_compiled: bool
    max_batch_bytes: int


class TrainedNetwork:
    """The algorithm on one device."""

    works_on: Literal["tiles"] = "tiles"
    settings = TilesSettings()

    def __init__(
        self, card: AlgorithmCard, entry: AlgorithmSettings, device: Device, max_batch_bytes: int
    ) -> None:
        """Load the network. Raises ConfigError for a folder or file that holds none."""
        if entry.folder is None:
            raise ConfigError(f"worker.algorithms.{card.name}.folder: the kind `weights` needs one")
        self.card = card
        self._device = device
        try:
            full, batch_tiles = _load(card, entry, device, torch.float32, max_batch_bytes)
        except AlgorithmAnswerError as error:
            raise ConfigError(f"worker.algorithms.{card.name}.folder: {error.detail}") from None
        self._full = full
        self.batch_tiles = batch_tiles
        self._half: Network | None = None
        if card.tolerance and device.half:
            with suppress(AlgorithmAnswerError):  # half precision does not reach far enough
                self._half, _ = _load(card, entry, device, device.half, max_batch_bytes)

    def calibrate(self, samples: Pixels) -> "TileScorer":
        """Choose the precision: half where it stays within the card's tolerance on the samples."""
        if self._half is None or not len(samples):
            return TileScorer(self.card, self._full, "float32")
        if _largest_difference(self._full, self._half, samples) <= self.card.tolerance:
            return TileScorer(self.card, self._half, str(self._device.half).removeprefix("torch."))
        return TileScorer(self.card, self._full, "float32")


class TileScorer:
    """The algorithm for one scan. Threads may share it."""

    def __init__(self, card: AlgorithmCard, network: Network, precision: str) -> None:
        self._card = card
        self._network = network
        self.precision = precision

    def classify(self, batch: Pixels) -> Floats:
        """Return how likely each class is for each tile (N, E, E, 3): (N, classes).

        Raises AlgorithmAnswerError where the network answers no such probabilities.
        """
        return sparing(self._network, batch, _stacked)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return how many tiles with tissue are likeliest of each class, and their shares."""
        total = sum(counts)
        names = [entry.name for entry in self._card.classes]
        by_class = dict(zip(names, counts, strict=True))
        shares: dict[str, float | None] = dict.fromkeys(names)
        if total:
            shares = {name: count / total for name, count in by_class.items()}
        summary = {
            "tiles": total,
            "tiles_by_class": by_class,
            "share_by_class": shares,
            "area_mm2": size_mm2(area, frame),
            "precision": self.precision,
        }
        if not total:
            return summary, "no tissue found"
        percents = [f"{name} {100 * count / total:.1f} %" for name, count in by_class.items()]
        return summary, f"{total:,} tiles: {', '.join(percents)}"


def _stacked(first: Floats, second: Floats) -> Floats:
    return np.concatenate([first, second])


def _largest_difference(full: Network, half: Network, samples: Pixels) -> float:
    """Return by how much half precision changes a probability of the samples (N, E, E, 3).

    Infinity where it answers no probabilities, because its numbers do not reach far enough.
    """
    difference = 0.0
    for sample in samples[:, None]:
        probabilities = full(sample)
        try:
            off = np.abs(probabilities - half(sample))
        except AlgorithmAnswerError:
            return float("inf")
        difference = max(difference, float(off.max()))
    return difference


def _load(
    card: AlgorithmCard,
    entry: AlgorithmSettings,
    device: Device,
    precision: torch.dtype,
    max_batch_bytes: int,
) -> tuple[Network, int]:
    """Return the network and the number of tiles of its batches.

    Raises ConfigError, and AlgorithmAnswerError for a network that answers blank tiles wrongly.
    """
    file = network_file(card.name, entry.folder or Path())
    options = _LoadOptions(device, precision, entry.compile, max_batch_bytes)
    try:
        return _loaded(file, card.digest, options)
    except (AlgorithmAnswerError, ConfigError):
        raise
    except Exception as error:
        # Files of others: torch and what they hold raise errors of any class.
        raise ConfigError(
            f"worker.algorithms.{card.name}.folder: {file.name} does not run: {brief(error)}"
        ) from error


@lru_cache(maxsize=2)
def _loaded(file: Path, digest: str, options: _LoadOptions) -> tuple[Network, int]:
    """Load the network and keep it from order to order.

    A small region must not wait for a network to be read and warmed up. Raises ConfigError where
    the folder has not the `digest` of the card any more: nothing of two versions is kept.
    """
    device = options.device
    description = describe(file.parent.name, file.parent)
    network = Network(_runnable(file, options), description, device, options.precision)
    check_unchanged(file.parent.name, file, digest)
    tile_bytes = 3 * description.input_px**2
    most_tiles = min(
        device.batch(_CPU_BATCH, _GPU_BATCH), max(1, options.max_batch_bytes // tile_bytes)
    )
    batch_tiles = fitting_batch(network.warm_up, device, most_tiles)
    if not device.is_gpu:
        keep_freed()
    network.warm_up(batch_tiles)
    if options.precision == torch.float32:
        network.check_is_no_probability()
    return network, batch_tiles


def _runnable(file: Path, options: _LoadOptions) -> Callable[[Tensor], Tensor]:
    if file.suffix != ".pt2":
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # of TorchScript, the format of the zoo
            return _frozen(file, options.device, options.precision)
    module = exported_archive.load(file).to(options.device.torch, options.precision)
    if options.is_compiled:
        return torch.compile(module)
    return module


def _frozen(file: Path, device: Device, precision: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Load a TorchScript network and freeze it.

    Without optimize_for_inference: on CPUs it made a small network four times as slow, and
    MobileNetV3 no faster.
    """
    loaded: Any = torch.jit.load(file, map_location=device.torch)  # type: ignore[no-untyped-call]
    script = loaded.eval().to(precision).to(memory_format=torch.channels_last)
    frozen: Callable[[Tensor], Tensor] = torch.jit.freeze(script)
    return frozen
