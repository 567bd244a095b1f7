"""The kind `python`: makes cards and algorithms of the entries in the settings that name code."""

from typing import Any

from pydantic import BaseModel, ValidationError

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from worker.algorithms.python.algorithm import PythonAlgorithm, RunOptions
from worker.algorithms.python.api_card import algorithm_card, parameters_model
from worker.algorithms.python.description import Description, EntryRefusedError, describe


class PythonKind:
    """Code of a site's own, in a process of its own."""

    needs_folder = False
    reads_pixels = True

    def parameters(self, name: str, entry: AlgorithmSettings) -> type[BaseModel]:
        """Return what an order may set. Raises ConfigError."""
        stains = None
        if entry.stains is not None:
            stains = tuple(entry.stains)
        return parameters_model("Python", _described(name, entry).card, stains)

    def card(self, name: str, entry: AlgorithmSettings) -> AlgorithmCard:
        """Return the card that the code states. Raises ConfigError."""
        api = _described(name, entry)
        try:
            return algorithm_card(name, api.card, api.digest)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ConfigError(
                f"worker.algorithms.{name}: entry: card.{place}: {first['msg']}"
            ) from None

    def load(
        self,
        card: AlgorithmCard,
        parameters: BaseModel,
        entry: AlgorithmSettings,
        device: str,
        max_batch_bytes: int,
    ) -> PythonAlgorithm:
        """Return the algorithm; its process is started with the first scan. Raises ConfigError."""
        api = _described(card.name, entry)
        tile_bytes = 3 * api.card.input_px**2
        batch_tiles = max(1, min(api.card.batch, max_batch_bytes // tile_bytes))
        values: dict[str, Any] = parameters.model_dump()
        run = RunOptions(_device(device), values, batch_tiles, entry.memory_bytes)
        return PythonAlgorithm(card, entry.entry or "", api, run)


def _device(name: str) -> str:
    """Return the device as torch names it; without torch where none is to be looked for."""
    if name == "cpu":
        return name
    from worker.algorithms.torch_device.device import resolve

    return str(resolve(name).torch)


def _described(name: str, entry: AlgorithmSettings) -> Description:
    """Return what the entry names. Raises ConfigError."""
    setting = f"worker.algorithms.{name}: entry"
    if not entry.entry:
        raise ConfigError(f"{setting}: the kind `python` needs one, with the code")
    try:
        return describe(entry.entry)
    except EntryRefusedError as error:
        raise ConfigError(f"{setting}: {error}") from None
