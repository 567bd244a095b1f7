"""Loads a network for slides and its encoder, from the folder that names both."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.answer_error import AlgorithmAnswerError, AlgorithmRaisedError, last_line
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.interface import TilePlaces
from worker.algorithms.model_folder.card import folder_card
from worker.algorithms.model_folder.digest import check_unchanged, digests
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error
from worker.algorithms.model_folder.model_file import SlideModel
from worker.algorithms.model_folder.reading import encoder_folder, read_folder
from worker.algorithms.model_folder.roles import needed_roles, roles_of
from worker.algorithms.networks.network import by_role
from worker.algorithms.networks.network_file import load_network
from worker.algorithms.networks.slide_network import Aggregator, SlideNetwork
from worker.algorithms.networks.trained_network import TrainedNetwork
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import is_short_of_memory

_TRIED_TILES: Final = (16, 23)
"""The sizes of two bags of noise: a network that takes one number of tiles alone is noticed."""
_KEPT: Final = 2
"""Networks for slides that stay loaded from order to order, as the encoders do."""


def load_slide_network(
    card: AlgorithmCard,
    entry: AlgorithmSettings,
    device: Device,
    max_batch_bytes: int,
    parameters: Mapping[str, Any],
) -> SlideNetwork:
    """Return the network for slides in `entry.folder`, with its encoder.

    Raises ConfigError where one of both cannot be loaded, or the network takes or answers something
    else than its description says.
    """
    if entry.folder is None:
        raise algorithm_error(card.name, ENTRY, "folder: the kind `weights` needs one")
    folder = read_folder(card.name, entry.folder, entry.encoders)
    model = folder.model
    path = encoder_folder(folder)
    if not isinstance(model, SlideModel) or path is None:
        raise TypeError(f"{card.name} is no network for slides")
    encoders = tuple(sorted(entry.encoders.items()))
    aggregate = _loaded(card.name, entry.folder, encoders, card.digest, device)
    settings = model.settings
    own = {key: value for key, value in parameters.items() if key in type(settings).model_fields}
    settings = settings.model_copy(update=own)
    aggregator = Aggregator(aggregate, device, settings, model.activation, len(model.classes))
    encoder = _encoder(card, path, device, max_batch_bytes)
    try:
        if not aggregate.was_tried:
            _try_on_noise(aggregator, encoder)
            aggregate.was_tried = True
    except (AlgorithmAnswerError, AlgorithmRaisedError) as error:
        detail = f"it does not take or answer what this says: {error.detail}"
        raise algorithm_error(card.name, folder.described_in, detail) from None
    return SlideNetwork(card, settings, encoder, aggregator)


class RoleNetwork:
    """A network that is given any tensors, and answers by role."""

    def __init__(self, run: Callable[..., Any], model: SlideModel) -> None:
        self._run = run
        self._roles = roles_of(model)
        self._needed = needed_roles(model)
        self.was_tried = False
        """Whether it has answered bags of noise as its description says."""

    def __call__(self, *given: torch.Tensor) -> Answers:
        """Return the answers by role.

        Raises AlgorithmRaisedError where the network fails, AlgorithmAnswerError where a role is
        missing.
        """
        try:
            answer = self._run(*given)
        except Exception as error:
            if is_short_of_memory(error):
                raise
            raise AlgorithmRaisedError(last_line(error)) from error
        return by_role(answer, self._roles, self._needed)


def _encoder(
    card: AlgorithmCard, path: Path, device: Device, max_batch_bytes: int
) -> TrainedNetwork:
    folder = read_folder(card.name, path)
    own = folder_card(card.name, folder, digests(card.name, folder).algorithm)
    entry = AlgorithmSettings(kind="weights", folder=path)
    return TrainedNetwork(own, entry, device, max_batch_bytes)


def _try_on_noise(aggregator: Aggregator, encoder: TrainedNetwork) -> None:
    """Ask for bags of two sizes, rather than find out once a whole slide is encoded.

    Raises AlgorithmAnswerError and AlgorithmRaisedError.
    """
    edge = encoder.card.tile_px + 2 * encoder.card.halo_px
    blank = np.zeros((1, edge, edge, 3), np.uint8)
    answer: Any = encoder.calibrate(blank[:0]).classify(blank)
    random = np.random.default_rng(0)
    for tiles in _TRIED_TILES:
        features = random.standard_normal((tiles, answer.shape[1]), np.float32)
        coords = edge * np.arange(2 * tiles).reshape(tiles, 2)
        aggregator.ask(features, TilePlaces(coords, edge))


@lru_cache(maxsize=_KEPT)
def _loaded(
    name: str, path: Path, encoders: tuple[tuple[str, Path], ...], digest: str, device: Device
) -> RoleNetwork:
    """Load the network, which stays loaded from order to order. Raises ConfigError."""
    folder = read_folder(name, path, dict(encoders))
    if not isinstance(folder.model, SlideModel):
        raise TypeError(f"{name} is no network for slides")
    try:
        run = load_network(folder.network, device, torch.float32)
    except ConfigError:
        raise
    except Exception as error:
        # Files of others: torch and what they hold raise errors of any class.
        raise algorithm_error(
            name, folder.network.name, f"does not run: {last_line(error)}"
        ) from error
    check_unchanged(name, folder, digest)
    return RoleNetwork(run, folder.model)
