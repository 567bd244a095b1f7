"""Makes cards of the algorithms in the settings, and loads the one that is ordered.

Loads torch only in `load`, and only for algorithms that compute with it.
"""

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.stains import KNOWN_STAINS, stain_name
from broker.settings.config import AlgorithmSettings, ConfigError
from broker.settings.programs import PROGRAM_KINDS
from worker.algorithms.builtin.box_grid import process_image
from worker.algorithms.builtin.cards import (
    grid_card,
    grid_parameters,
    ki67_card,
    ki67_parameters,
)
from worker.algorithms.builtin.image_function import BuiltinReport
from worker.algorithms.interface import Algorithm
from worker.algorithms.model_folder.card import weights_card, weights_parameters
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error, first_problem
from worker.algorithms.own_classes import with_own_classes
from worker.algorithms.program_entry import check_program_keys
from worker.algorithms.programs.kind import ProgramKind
from worker.algorithms.python.kind import PythonKind

Settings = Mapping[str, AlgorithmSettings]
"""The section `worker.algorithms` of the settings: an entry for each name."""


def card(name: str, entry: AlgorithmSettings) -> AlgorithmCard:
    """Return the card of one algorithm, with this site's own settings.

    Raises ConfigError, which names the setting that cannot work.
    """
    check_program_keys(name, entry)
    kind = _kind(name, entry)
    _check_folder(name, entry, kind)
    _check_stains(name, entry, kind)
    try:
        own = kind.card(name, entry).model_dump()
    except OSError as error:  # a file was removed while it was read, or may not be read
        raise algorithm_error(name, ENTRY, f"folder: {error}") from None
    own["name"] = name
    own["classes"] = with_own_classes(name, entry, own["classes"])
    if entry.title is not None:
        own["title"] = entry.title
    if entry.description is not None:
        own["description"] = entry.description
    own["parameters"] = _with_own_defaults(name, entry, kind, own["parameters"])
    if entry.stains is not None:
        own["stains"] = entry.stains
    if entry.queue is not None or entry.machine_class is not None:
        own["queue"] = queue_of(entry)
    if entry.time_limit_s is not None:
        own["time_limit_s"] = entry.time_limit_s
    try:
        return AlgorithmCard.model_validate(own)
    except ValidationError as error:
        raise algorithm_error(name, ENTRY, first_problem(error)) from None


def cards_without_model(settings: Settings) -> dict[str, AlgorithmCard]:
    """Return the cards of the algorithms that need no model folder and no program, by name.

    One whose settings cannot work is left out: a worker that should run it says why.
    """
    found = {}
    for name, entry in settings.items():
        if needs_check(entry) or entry.kind in PROGRAM_KINDS:
            continue
        with suppress(ConfigError):
            found[name] = card(name, entry)
    return found


def queue_of(entry: AlgorithmSettings) -> str:
    """Return the queue on which the algorithm's scans wait: its own, that of its class, `gpu`."""
    if entry.queue is not None:
        return entry.queue
    if entry.machine_class is not None:
        return entry.machine_class.queue
    default: str = AlgorithmCard.model_fields["queue"].default
    return default


def needs_folder(entry: AlgorithmSettings) -> bool:
    """Return whether the algorithm is made from a model folder."""
    return entry.kind in _KINDS and _KINDS[entry.kind].needs_folder


def needs_check(entry: AlgorithmSettings) -> bool:
    """Return whether only a process of its own can say that the algorithm can be used.

    It is made from a model folder, from code of the site, or from an image that an engine has.
    """
    return entry.kind in _KINDS and entry.kind in ("weights", "python", "container")


def needs_device(entry: AlgorithmSettings) -> bool:
    """Return whether the algorithm computes on `worker.device`."""
    return entry.kind in _KINDS and _KINDS[entry.kind].reads_pixels


def load(
    name: str,
    settings: Settings,
    parameters: Mapping[str, Any],
    device: str,
    *,
    max_batch_bytes: int,
) -> Algorithm:
    """Return the algorithm `name`, set up with an order's parameters.

    `device` is `auto`, `cpu`, `cuda` or `cuda:N`. `max_batch_bytes` is the most pixels, in bytes,
    that the algorithm may ask for at a time.

    Raises OrderError where the name or a parameter is wrong, ConfigError where the settings are.
    """
    if name not in settings:
        known = ", ".join(sorted(settings))
        raise OrderError(
            "algorithm_unknown",
            f"this worker has no algorithm {name!r}",
            hint=f"it has: {known}",
            blame="platform",  # it was there when the order was accepted
        )
    entry = settings[name]
    own_card = card(name, entry)
    kind = _kind(name, entry)
    validated = _validated(kind.parameters(name, entry), {**entry.parameters, **parameters})
    return kind.load(own_card, validated, entry, device, max_batch_bytes)


def release_device() -> None:
    """Give the device's unused memory back, where an algorithm has used one."""
    if "torch" in sys.modules:
        from worker.algorithms.torch_device.memory import release

        release()


def device_and_torch(device: str) -> tuple[str, str]:
    """Return the device that `device` means, a GPU with its name, and the version of torch.

    Raises ConfigError where there is no such device.
    """
    from worker.algorithms.torch_device.device import device_and_torch

    return device_and_torch(device)


def set_compute_threads(count: int) -> None:
    """Let one call of torch use so many cores, in threads that begin after this.

    Does nothing where no algorithm computes with torch.
    """
    if "torch" in sys.modules:
        from worker.algorithms.torch_device import device

        device.set_compute_threads(count)


class _Kind(Protocol):
    """A kind of algorithm that an entry of the settings can name."""

    needs_folder: bool
    reads_pixels: bool

    def parameters(self, name: str, entry: AlgorithmSettings) -> type[BaseModel]:
        """Return what an order may set. Raises ConfigError."""

    def card(self, name: str, entry: AlgorithmSettings) -> AlgorithmCard:
        """Return the kind's own card. Raises ConfigError."""

    def load(
        self,
        card: AlgorithmCard,
        parameters: Any,
        entry: AlgorithmSettings,
        device: str,
        max_batch_bytes: int,
    ) -> Algorithm:
        """Return the algorithm, ready to run. Raises ConfigError."""


class _Ki67Kind:
    needs_folder = False
    reads_pixels = True

    def parameters(self, _name: str, _entry: AlgorithmSettings) -> type[BaseModel]:
        return ki67_parameters()

    def card(self, _name: str, _entry: AlgorithmSettings) -> AlgorithmCard:
        return ki67_card()

    def load(
        self,
        card: AlgorithmCard,
        parameters: BaseModel,
        _entry: AlgorithmSettings,
        device: str,
        _max_batch_bytes: int,
    ) -> Algorithm:
        from worker.algorithms.builtin.ki67.ki67 import Ki67
        from worker.algorithms.builtin.tile_model import BuiltinTiles
        from worker.algorithms.torch_device.device import resolve

        return BuiltinTiles(card, Ki67(), parameters.model_dump(), resolve(device))


class _GridKind:
    needs_folder = False
    reads_pixels = False

    def parameters(self, _name: str, _entry: AlgorithmSettings) -> type[BaseModel]:
        return grid_parameters()

    def card(self, _name: str, _entry: AlgorithmSettings) -> AlgorithmCard:
        return grid_card()

    def load(
        self,
        card: AlgorithmCard,
        parameters: BaseModel,
        _entry: AlgorithmSettings,
        _device: str,
        _max_batch_bytes: int,
    ) -> Algorithm:
        return BuiltinReport(card, process_image, parameters.model_dump())


class _WeightsKind:
    needs_folder = True
    reads_pixels = True

    def parameters(self, name: str, entry: AlgorithmSettings) -> type[BaseModel]:
        return weights_parameters(name, entry)

    def card(self, name: str, entry: AlgorithmSettings) -> AlgorithmCard:
        return weights_card(name, entry)

    def load(
        self,
        card: AlgorithmCard,
        parameters: BaseModel,
        entry: AlgorithmSettings,
        device: str,
        max_batch_bytes: int,
    ) -> Algorithm:
        from worker.algorithms.torch_device.device import resolve

        own = parameters.model_dump()
        if card.output == "slide":
            from worker.algorithms.networks.slide_folder import load_slide_network

            return load_slide_network(card, entry, resolve(device), max_batch_bytes, own)
        from worker.algorithms.networks.trained_network import TrainedNetwork

        return TrainedNetwork(card, entry, resolve(device), max_batch_bytes, own)


_KINDS: Final[Mapping[str, _Kind]] = {
    "ki67": _Ki67Kind(),
    "grid": _GridKind(),
    "weights": _WeightsKind(),
    "python": PythonKind(),
    "command": ProgramKind(),
    "container": ProgramKind(),
}


def _kind(name: str, entry: AlgorithmSettings) -> _Kind:
    if entry.kind not in _KINDS:
        known = ", ".join(sorted(_KINDS))
        raise algorithm_error(
            name, ENTRY, f"kind: there is no kind {entry.kind!r}; there are: {known}"
        )
    return _KINDS[entry.kind]


def _check_folder(name: str, entry: AlgorithmSettings, kind: _Kind) -> None:
    of_kind = f"the kind {entry.kind!r}"
    if kind.needs_folder and entry.folder is None:
        raise algorithm_error(name, ENTRY, f"folder: {of_kind} needs one, with the network")
    if kind.needs_folder:
        return
    if entry.folder is not None:
        raise algorithm_error(name, ENTRY, f"folder: {of_kind} takes none")
    if entry.sha256 is not None:
        raise algorithm_error(name, ENTRY, f"sha256: {of_kind} has no file to compare")


def _check_stains(name: str, entry: AlgorithmSettings, kind: _Kind) -> None:
    """Raise ConfigError for stains that no slide would be compared with."""
    if entry.stains and not kind.reads_pixels:
        raise algorithm_error(
            name, ENTRY, f"stains: the kind {entry.kind!r} does not look at the stain"
        )
    for stain in entry.stains or ():
        if stain_name(stain) is None:
            known = ", ".join(KNOWN_STAINS)
            raise algorithm_error(
                name, ENTRY, f"stains: no stain {stain!r} is known; there are: {known}"
            )


def _with_own_defaults(
    name: str, entry: AlgorithmSettings, kind: _Kind, schema: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters' schema with the entry's defaults in place of the kind's."""
    try:
        kind.parameters(name, entry).model_validate(entry.parameters)
    except ValidationError as error:
        raise algorithm_error(name, ENTRY, f"parameters.{first_problem(error)}") from None
    properties = dict(schema["properties"])
    for key, value in entry.parameters.items():
        properties[key] = properties[key] | {"default": value}
    return schema | {"properties": properties}


def _validated(model: type[BaseModel], parameters: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(parameters)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = f"parameters.{'.'.join(map(str, first['loc']))}"
        known = ", ".join(model.model_fields) or "none"
        wrong = first["msg"]
        if first["type"] == "extra_forbidden":
            wrong = "there is no such parameter"
        raise OrderError(
            "parameters_invalid",
            f"{field}: {wrong}",
            hint=f"the parameters are: {known}",
            field=field,
        ) from None
