"""The kinds `command` and `container`: make cards and algorithms of the entries in the settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings
from broker.settings.programs import PROGRAM_TIME_LIMIT_S, revealed_variables
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error
from worker.algorithms.programs.algorithm import ProgramAlgorithm
from worker.algorithms.programs.card import parameters_model, program_card
from worker.programs.interface import RunLimits
from worker.programs.isolations import image_digest, isolation_for
from worker.programs.run import Program

_DEVICES: Final = Path("/dev")
_GPU_FILES: Final = ("nvidia[0-9]*", "kfd", "dxg")
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


class ProgramKind:
    """A program of a site's own, which posts its results as to Techcyte."""

    needs_folder = False
    reads_pixels = False

    def parameters(self, name: str, entry: AlgorithmSettings) -> type[BaseModel]:
        """Return what an order may set. Raises ConfigError."""
        return parameters_model(name, entry)

    def card(self, name: str, entry: AlgorithmSettings) -> AlgorithmCard:
        """Return the card that the settings state. Raises ConfigError."""
        machine_class = entry.machine_class
        if machine_class is not None and machine_class.gpus and not _has_gpu():
            raise algorithm_error(
                name,
                ENTRY,
                f"class: {entry.class_name} has a GPU, and this machine has none; "
                "let a worker of another machine wait on its queue",
            )
        return program_card(name, entry)

    def load(
        self,
        card: AlgorithmCard,
        parameters: BaseModel,
        entry: AlgorithmSettings,
        device: str,
        _max_batch_bytes: int,
    ) -> ProgramAlgorithm:
        """Return the algorithm; its program is started with each scan. Raises ConfigError.

        The digest of its card is that of the image that the engine has now.
        """
        program = Program(
            argv=tuple(entry.command or ()),
            time_limit_s=entry.time_limit_s or PROGRAM_TIME_LIMIT_S,
            image=entry.image or "",
            engine=entry.engine or "",
            variables=revealed_variables(card.name, entry.env),
            limits=_limits(entry, device),
            allowed_hosts=frozenset(host.lower() for host in entry.allow_hosts),
        )
        values: Mapping[str, Any] = parameters.model_dump()
        try:
            isolation = isolation_for(program.image, program.engine)
            if program.image:
                digest = image_digest(program.image, program.engine)
                card = card.model_copy(update={"digest": digest.removeprefix("sha256:")})
        except OrderError as error:
            # Scans wait, and go on once it is there: an image is never fetched by an order.
            raise algorithm_error(
                card.name, ENTRY, f"image: {error.detail}; {error.hint}"
            ) from None
        return ProgramAlgorithm(card, program, values, isolation)


def _has_gpu() -> bool:
    return any(True for name in _GPU_FILES for _ in _DEVICES.glob(name))


def _limits(entry: AlgorithmSettings, device: str) -> RunLimits:
    machine_class = entry.machine_class
    if machine_class is None:
        return RunLimits(gpus=_gpus(device))
    gpus: tuple[str, ...] | None = ()
    if machine_class.gpus:
        gpus = _gpus(device)
    return RunLimits(cpus=machine_class.cpus, memory_bytes=machine_class.memory, gpus=gpus)


def _gpus(device: str) -> tuple[str, ...] | None:
    """Return the GPU of this worker, empty for none; None where the machine has at most one.

    A worker on a machine with several has reserved one when it started.
    """
    if device == "cpu":
        return ()
    _, colon, number = device.partition(":")
    if colon:
        return (number,)
    visible = os.environ.get(_VISIBLE)
    if visible is None:
        return None
    return tuple(one.strip() for one in visible.split(",") if one.strip())
