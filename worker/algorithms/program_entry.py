"""Checks the keys of an algorithm that is a program of a site: its command or image, its class."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from broker.settings.config import AlgorithmSettings
from broker.settings.programs import ENGINES, IMAGE_NAME, PROGRAM_KINDS, revealed_variables
from worker.algorithms.model_folder.errors import ENTRY, algorithm_error


def check_program_keys(name: str, entry: AlgorithmSettings) -> None:
    """Raise ConfigError for a key that the entry's kind does not take, or that cannot work.

    Nothing is started, and no engine is asked.
    """
    for key, kinds in _given(entry):
        if entry.kind not in kinds:
            raise algorithm_error(
                name, ENTRY, f"{key}: only the kind {' or '.join(kinds)} has one, not {entry.kind}"
            )
    if entry.kind == "command":
        _check_command(name, entry)
    if entry.kind == "container":
        _check_image(name, entry)
    _check_class(name, entry)
    revealed_variables(name, entry.env)


def _given(entry: AlgorithmSettings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each key of programs that the entry has, with the kinds that may have it."""
    if entry.command is not None:
        yield "command", ("command",)
    if entry.image is not None:
        yield "image", ("container",)
    if entry.engine is not None:
        yield "engine", ("container",)
    if entry.env:
        yield "env", PROGRAM_KINDS
    if entry.class_name is not None:
        yield "class", PROGRAM_KINDS
    if entry.allow_hosts:
        yield "allow_hosts", PROGRAM_KINDS
    if entry.kind in PROGRAM_KINDS and entry.entry is not None:
        yield "entry", ("python",)


def _check_command(name: str, entry: AlgorithmSettings) -> None:
    if entry.command is None:
        raise algorithm_error(
            name, ENTRY, 'command: the kind command needs one, like ["python3", "/models/main.py"]'
        )
    if any("\0" in part for part in entry.command):
        raise algorithm_error(name, ENTRY, "command: an argument holds a zero byte")
    program = entry.command[0]
    if "/" in program and not Path(program).is_absolute():
        raise algorithm_error(
            name, ENTRY, f"command: give the whole path of {program!r}: it has no folder to be in"
        )
    if shutil.which(program) is None:
        raise algorithm_error(
            name, ENTRY, f"command: there is no program {program!r} here that may be run"
        )


def _check_image(name: str, entry: AlgorithmSettings) -> None:
    if entry.image is None:
        raise algorithm_error(
            name, ENTRY, "image: the kind container needs one, like registry.lab/mitosis:3"
        )
    if not IMAGE_NAME.fullmatch(entry.image):
        raise algorithm_error(
            name,
            ENTRY,
            f"image: {entry.image[:100]!r} is no name of an image; docker and podman take "
            "REPOSITORY:TAG, apptainer also the path of a .sif file",
        )
    if entry.engine is not None and entry.engine not in ENGINES:
        raise algorithm_error(
            name,
            ENTRY,
            f"engine: there is no engine {entry.engine!r}; there are: {', '.join(ENGINES)}",
        )


def _check_class(name: str, entry: AlgorithmSettings) -> None:
    if entry.class_name is None:
        return
    if entry.machine_class is None:
        known = ", ".join(entry.known_classes) or "none"
        raise algorithm_error(
            name,
            ENTRY,
            f"class: there is no class {entry.class_name!r} in worker.classes; there are: {known}",
        )
    if entry.machine_class.gpus > 1:
        raise algorithm_error(
            name,
            ENTRY,
            f"class: {entry.class_name} has {entry.machine_class.gpus} GPUs, and a worker has one",
        )
