"""The entry of an algorithm that is a program: what is wrong with it, and where its scans wait."""

from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import AlgorithmSettings, Config, ConfigError
from worker.algorithms import registry
from worker.algorithms.program_entry import check_program_keys

COMMAND = {"kind": "command", "command": ["true"]}
CONTAINER = {"kind": "container", "image": "registry.lab/mitosis:3"}
CLASSES = {"g4dn": {"queue": "g4dn", "gpus": 1}, "two-gpus": {"gpus": 2}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "ki67", "command": ["true"]}, "command: only the kind command has one, not ki67"),
    ({"kind": "grid", "class": "g4dn"}, "class: only the kind command or container has one"),
    ({"kind": "grid", "env": {"A": "b"}}, "env: only the kind command or container has one"),
    (COMMAND | {"image": "x"}, "image: only the kind container has one"),
    (COMMAND | {"engine": "podman"}, "engine: only the kind container has one"),
    (COMMAND | {"entry": "a:b"}, "entry: only the kind python has one"),
    ({"kind": "command"}, "command: the kind command needs one"),
    (COMMAND | {"command": ["./main.py"]}, "command: give the whole path"),
    (COMMAND | {"command": ["/nowhere/main.py"]}, "command: there is no program"),
    (COMMAND | {"command": ["true", "a\0b"]}, "command: an argument holds a zero byte"),
    ({"kind": "container"}, "image: the kind container needs one"),
    (CONTAINER | {"image": "--privileged"}, "image: '--privileged' is no name of an image"),
    (CONTAINER | {"image": "a b"}, "image: 'a b' is no name of an image"),
    (CONTAINER | {"engine": "rocket"}, "engine: there is no engine 'rocket'"),
    (CONTAINER | {"class": "huge"}, "class: there is no class 'huge' in worker.classes; there"),
    (CONTAINER | {"class": "two-gpus"}, "class: two-gpus has 2 GPUs, and a worker has one"),
    (COMMAND | {"env": {"A=B": "c"}}, "env.A=B: a name has letters"),
    (COMMAND | {"env": {"JWT_TOKEN": "c"}}, "env.JWT_TOKEN: every run is given its own"),
    (COMMAND | {"env": {"A": "a\0b"}}, "env.A: a value has at most"),
    (COMMAND | {"env": {"A": {"file": "/nowhere/x"}}}, "env.A: /nowhere/x cannot be read"),
    (COMMAND | {"env": {"A": {"file": "/proc/self/exe"}}}, "env.A: /proc/self/exe is no text"),
]


def entry_of(entry: dict[str, Any]) -> AlgorithmSettings:
    """Return an entry as it is read from config.json, beside the classes."""
    worker = {"classes": CLASSES, "algorithms": {"demo": entry}}
    return Config.model_validate({"worker": worker}).worker.algorithms["demo"]


@pytest.mark.parametrize(("entry", "reason"), WRONG, ids=[reason for _, reason in WRONG])
def test_a_wrong_entry_is_one_reason(entry: dict[str, Any], reason: str) -> None:
    """The settings can be loaded, so that this algorithm alone is unavailable; the reason names the
    key."""
    with pytest.raises(ConfigError) as refused:
        registry.card("demo", entry_of(entry))
    assert str(refused.value).startswith(f"worker.algorithms.demo: config: {reason}")


@pytest.mark.parametrize(
    "image",
    [
        "mitosis",
        "registry.lab:5000/pathology/mitosis:3",
        "registry.lab/mitosis@sha256:" + "ab" * 32,
        "/models/mitosis.sif",
        "docker://registry.lab/mitosis:3",
    ],
)
def test_images_are_named_as_the_engines_name_them(image: str) -> None:
    """By repository, tag and digest; for Apptainer by a file, or with the place it comes from."""
    check_program_keys("demo", entry_of(CONTAINER | {"image": image, "engine": "apptainer"}))


def test_a_program_may_be_named_by_its_path(tmp_path: Path) -> None:
    """It must be there, and one that may be run."""
    program = tmp_path / "main.sh"
    program.write_text("#!/bin/sh\n")
    entry = entry_of({"kind": "command", "command": [str(program)]})
    with pytest.raises(ConfigError, match="there is no program"):
        check_program_keys("demo", entry)
    program.chmod(0o755)
    check_program_keys("demo", entry)


def test_scans_wait_on_the_queue_of_the_class() -> None:
    """Unless the algorithm has a queue of its own."""
    assert registry.queue_of(entry_of(COMMAND | {"class": "g4dn"})) == "g4dn"
    assert registry.queue_of(entry_of(COMMAND | {"class": "g4dn", "queue": "own"})) == "own"
    assert registry.queue_of(entry_of(COMMAND)) == "gpu"
