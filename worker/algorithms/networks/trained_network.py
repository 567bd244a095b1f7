"""The algorithm `weights`: a trained network from a folder that works tile by tile.

The model file says what the network takes and what it answers. Half precision is used where it
changes no probability by more than the card allows, as measured on tiles of the scan.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.answer_error import (
    AlgorithmAnswerError,
    AlgorithmRaisedError,
    last_line,
)
from worker.algorithms.decoders.create import create_decoder
from worker.algorithms.decoders.geometry import crop_px
from worker.algorithms.decoders.interface import AnswerDecoder
from worker.algorithms.interface import TileAnswers
from worker.algorithms.model_folder.card import folder_card
from worker.algorithms.model_folder.digest import check_unchanged
from worker.algorithms.model_folder.errors import ENTRY, KeyedError, algorithm_error
from worker.algorithms.model_folder.geometry import with_crop
from worker.algorithms.model_folder.model_file import (
    MaskModel,
    ObjectsModel,
    SlideModel,
    TileModel,
    TilesModel,
)
from worker.algorithms.model_folder.reading import read_folder
from worker.algorithms.model_folder.roles import needed_roles
from worker.algorithms.networks.network import Network
from worker.algorithms.networks.network_checks import check_is_no_probability
from worker.algorithms.networks.network_file import load_network
from worker.algorithms.networks.preprocessing import Preprocessing
from worker.algorithms.output_settings import OutputSettings
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import fitting_batch, sparing
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.process.freed_memory import keep_freed

# MobileNetV3 took 3.3, 2.9, 3.1 and 3.2 ms for a tile in batches of 2, 4, 8 and 16.
_CPU_BATCH: Final = 4
_GPU_BATCH: Final = 256
_WARM_UPS: Final = 3  # TorchScript observes two runs before it settles how it computes
_DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
_WHITE: Final = 255


@dataclass(frozen=True, slots=True)
class _LoadOptions:
    """Everything that a loaded network depends on besides its folder.

    `half`: a precision that our own settings allow, in place of the network's own.
    """

    device: Device
    half: torch.dtype | None
    is_compiled: bool
    max_batch_bytes: int


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network on a device, and what its answers to blank tiles show."""

    network: Network
    model: TileModel
    device: Device
    precision: torch.dtype
    batch_tiles: int
    crop_px: int
    """The rim of a tile that its answers lack, in pixels of the tile."""

    @property
    def precision_name(self) -> str:
        """The precision as summaries state it."""
        return str(self.precision).removeprefix("torch.")

    def for_scan(
        self, card: AlgorithmCard, settings: OutputSettings, samples: Pixels
    ) -> "ScanNetwork":
        """Return the network for one scan, with tiles of it (N, H, W, 3)."""
        prepare = Preprocessing(self.model, self.device, self.precision, samples)
        decoder = create_decoder(card, settings, self.model.activation, self.precision_name)
        return ScanNetwork(self, prepare, decoder)


class TrainedNetwork:
    """The algorithm on one device, with the parameters of an order."""

    works_on: Literal["tiles"] = "tiles"

    def __init__(
        self,
        card: AlgorithmCard,
        entry: AlgorithmSettings,
        device: Device,
        max_batch_bytes: int,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Load the network. Raises ConfigError for a folder or file that holds none."""
        if entry.folder is None:
            raise algorithm_error(card.name, ENTRY, "folder: the kind `weights` needs one")
        options = _LoadOptions(device, None, entry.compile, max_batch_bytes)
        self._full = _load(card.name, entry.folder, card.digest, options)
        model = self._full.model
        try:
            self.card = with_crop(card, model, self._full.crop_px)
        except KeyedError as error:
            raise algorithm_error(card.name, "model.json", str(error)) from None
        self.settings: OutputSettings = model.settings.model_copy(
            update=_own_parameters(model.settings, parameters or {})
        )
        self.batch_tiles = self._full.batch_tiles
        self._half: LoadedNetwork | None = None
        if card.tolerance and device.half and _has_probabilities(model):
            half = _LoadOptions(device, device.half, entry.compile, max_batch_bytes)
            with suppress(ConfigError):  # half precision does not reach far enough
                self._half = _load(card.name, entry.folder, card.digest, half)

    def calibrate(self, samples: Pixels) -> "ScanNetwork":
        """Choose the precision: half where it stays within the card's tolerance on the samples."""
        full = self._full.for_scan(self.card, self.settings, samples)
        if self._half is None or not len(samples):
            return full
        half = self._half.for_scan(self.card, self.settings, samples)
        if _largest_difference(full, half, self._with_halo(samples)) <= self.card.tolerance:
            return half
        return full

    def _with_halo(self, samples: Pixels) -> Pixels:
        """Return the samples with a white rim in place of their halo."""
        halo = self.card.halo_px
        widths = ((0, 0), (halo, halo), (halo, halo), (0, 0))
        return np.pad(samples, widths, constant_values=_WHITE)


class ScanNetwork:
    """The algorithm for one scan. Threads may share it."""

    def __init__(
        self, loaded: LoadedNetwork, prepare: Preprocessing, decoder: AnswerDecoder
    ) -> None:
        self._loaded = loaded
        self._prepare = prepare
        self._decoder = decoder
        self.precision = loaded.precision_name

    def classify(self, batch: Pixels) -> TileAnswers:
        """Return the answers for N tiles (N, E, E, 3), as the output of the card has them.

        Raises AlgorithmAnswerError where the network answers nothing of the kind, and
        AlgorithmRaisedError where it fails.
        """
        return sparing(self._answers, batch, _joined)

    def summarise(
        self, counts: Sequence[int], frame: Frame, area: Area
    ) -> tuple[dict[str, Any], str]:
        """Return figures fit for JSON, and a headline of one line."""
        return self._decoder.summarise(counts, frame, area)

    @torch.inference_mode()
    def _answers(self, batch: Pixels) -> TileAnswers:
        loaded = self._loaded
        try:
            with loaded.device.turn():
                answers = loaded.network.answers(batch, self._prepare)
                return self._decoder.decode(answers, len(batch))
        except AlgorithmAnswerError as error:
            raise error.of_output(loaded.model.output) from error


def _joined(first: Any, second: Any) -> TileAnswers:
    if isinstance(first, list):
        return [*first, *second]
    joined: Floats = np.concatenate([first, second])
    return joined


def _own_parameters(settings: OutputSettings, parameters: Mapping[str, Any]) -> dict[str, Any]:
    fields = type(settings).model_fields
    return {key: value for key, value in parameters.items() if key in fields}


def _has_probabilities(model: TileModel) -> bool:
    """Return whether two precisions can be compared, and the network's own is the full one."""
    is_compared = isinstance(model, TilesModel | MaskModel)
    return is_compared and model.dtype == "float32" and model.scale != "uint8"


def _largest_difference(full: ScanNetwork, half: ScanNetwork, samples: Pixels) -> float:
    """Return by how much half precision changes a probability of the samples (N, E, E, 3).

    Infinity where it answers no probabilities, because its numbers do not reach far enough.
    """
    difference = 0.0
    for sample in samples[:, None]:
        probabilities: Any = full.classify(sample)
        try:
            off = np.abs(probabilities - half.classify(sample))
        except AlgorithmAnswerError:
            return float("inf")
        if not np.issubdtype(off.dtype, np.floating):
            return float("inf")  # numbers of classes: nothing says how close they were
        difference = max(difference, float(off.max()))
    return difference


def _load(name: str, path: Path, digest: str, options: _LoadOptions) -> LoadedNetwork:
    """Return the network of a folder.

    Raises ConfigError where it cannot be loaded, or answers blank tiles wrongly.
    """
    folder = read_folder(name, path)
    try:
        return _loaded(name, path, digest, options)
    except ConfigError:
        raise
    except (AlgorithmAnswerError, KeyedError) as error:
        raise algorithm_error(name, folder.described_in, str(error)) from None
    except AlgorithmRaisedError as error:
        raise algorithm_error(
            name, folder.network.name, f"the network fails with {error.detail}"
        ) from None
    except Exception as error:
        # Files of others: torch and what they hold raise errors of any class.
        raise algorithm_error(
            name, folder.network.name, f"does not run: {last_line(error)}"
        ) from error


@lru_cache(maxsize=4)
def _loaded(name: str, path: Path, digest: str, options: _LoadOptions) -> LoadedNetwork:
    """Load the network and keep it from order to order.

    A small region must not wait for a network to be read and warmed up. Raises ConfigError where
    the folder has not the `digest` of the card any more: nothing of two versions is kept.
    """
    device = options.device
    folder = read_folder(name, path)
    model = folder.model
    if isinstance(model, SlideModel):
        raise KeyedError("output", "a network for slides is given no tiles")
    precision = options.half or _DTYPES[model.dtype]
    converted = options.half
    if converted is None and model.dtype == "float32":
        converted = torch.float32
    run = load_network(folder.network, device, converted, is_compiled=options.is_compiled)
    network = Network(run, model, device)
    check_unchanged(name, folder, digest)
    blank = _Blank(network, model, device, precision)
    crop = blank.crop_px()
    card = with_crop(folder_card(name, folder, digest), model, crop)
    loaded = LoadedNetwork(network, model, device, precision, model.batch or 1, crop)
    scan = loaded.for_scan(card, model.settings, blank.tiles(0))
    batch_tiles = _batch_tiles(scan, loaded, options.max_batch_bytes)
    if isinstance(model, TilesModel) and options.half is None:
        check_is_no_probability(blank.raw_logits, model)
    return LoadedNetwork(network, model, device, precision, batch_tiles, crop)


def _batch_tiles(scan: ScanNetwork, loaded: LoadedNetwork, max_batch_bytes: int) -> int:
    """Return the number of tiles of the network's batches, after it was warmed up with them."""
    model = loaded.model
    device = loaded.device

    def run(tiles: int) -> None:
        blank = np.zeros((tiles, model.input_px, model.input_px, 3), np.uint8)
        for _ in range(_WARM_UPS):
            scan.classify(blank)

    tiles = model.batch
    if tiles is None:
        tile_bytes = 3 * model.input_px**2
        most = min(device.batch(_CPU_BATCH, _GPU_BATCH), max(1, max_batch_bytes // tile_bytes))
        tiles = fitting_batch(run, device, most)
    if not device.is_gpu:
        keep_freed()
    run(tiles)
    return tiles


class _Blank:
    """What a network answers to blank and drawn tiles, before anything is made of it."""

    def __init__(
        self, network: Network, model: TileModel, device: Device, precision: torch.dtype
    ) -> None:
        self._network = network
        self._model = model
        self._device = device
        self._prepare = Preprocessing(model, device, precision, self.tiles(0))

    def tiles(self, count: int) -> Pixels:
        """Return so many black tiles."""
        edge = self._model.input_px
        return np.zeros((count, edge, edge, 3), np.uint8)

    def crop_px(self) -> int:
        """Return the rim of a tile that the network's answer lacks; 0 where it has no pixels."""
        model = self._model
        if not isinstance(model, MaskModel | ObjectsModel):
            return 0
        if isinstance(model, ObjectsModel) and model.style == "boxes":
            return 0
        role = needed_roles(model)[0]
        return crop_px(role, self._shape(role), model.input_px, model.output_stride)

    @torch.inference_mode()
    def raw_logits(self, batch: Pixels) -> Floats:
        """Return what a network of tiles answers for N tiles, as (N, classes)."""
        with self._device.turn():
            answer = self._network.answers(batch, self._prepare)["logits"]
            logits: Floats = answer.double().reshape(len(batch), -1).cpu().numpy()
        return logits

    @torch.inference_mode()
    def _shape(self, role: str) -> tuple[int, ...]:
        with self._device.turn():
            answer = self._network.answers(self.tiles(1), self._prepare)[role]
        return tuple(answer.shape)
