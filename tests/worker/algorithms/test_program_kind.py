"""Programs as algorithms: their card, what an order may set, and what a run may take."""

from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from broker.settings.config import Config, ConfigError, load
from worker.algorithms import registry
from worker.algorithms.programs import kind as program_kind
from worker.algorithms.programs.algorithm import ProgramAlgorithm


def settings(entry: dict[str, Any], **worker: Any) -> Config:
    """Settings with one program, which is called `own`."""
    given = {"kind": "command", "command": ["python3", "-V"], **entry}
    return load(worker={"algorithms": {"own": given}, **worker})


def loaded(config: Config, device: str = "cpu", **parameters: Any) -> ProgramAlgorithm:
    """The algorithm as a scan has it."""
    algorithm = registry.load(
        "own", config.worker.algorithms, parameters, device, max_batch_bytes=2**20
    )
    assert isinstance(algorithm, ProgramAlgorithm)
    return algorithm


def test_the_card_is_what_the_settings_say(tmp_path: Path) -> None:
    """Classes are those that are named; the limit is Techcyte's; the file is wanted whole."""
    config = settings({"title": "Mitosis", "colors": {"mitosis": "#FF0000"}, "queue": "slow"})
    card = registry.card("own", config.worker.algorithms["own"])
    assert (card.title, card.queue, card.time_limit_s) == ("Mitosis", "slow", 5400)
    assert [(one.name, one.color) for one in card.classes] == [("mitosis", "#ff0000")]
    assert card.whole_file
    assert card.mpp is None


def test_the_digest_follows_the_files_that_a_command_names(tmp_path: Path) -> None:
    """Another script is another version, of which no checkpoint goes on."""
    script = tmp_path / "main.py"
    entry = {"command": ["python3", str(script)]}
    digests = set()
    for text in ("pass", "print()", "pass"):
        script.write_text(text)
        card = registry.card("own", settings(entry).worker.algorithms["own"])
        assert card.version == card.digest[:12]
        digests.add(card.digest)
    assert len(digests) == 2


def test_the_version_of_an_image_is_its_tag() -> None:
    """A registry with a port is no tag."""
    for image, version in (("r.lab/a:3", "3"), ("r.lab:5000/a", None)):
        entry = {"kind": "container", "image": image, "command": None}
        card = registry.card("own", settings(entry).worker.algorithms["own"])
        assert card.version == (version or card.digest[:12])


def test_parameters_are_variables_with_the_types_of_their_defaults() -> None:
    """An order may set those that the site names, and no others."""
    config = settings({"parameters": {"DOWNSAMPLE": 10, "MODEL": "a", "FAST": True, "T": 0.5}})
    card = registry.card("own", config.worker.algorithms["own"])
    types = {name: one["type"] for name, one in card.parameters["properties"].items()}
    assert types == {"DOWNSAMPLE": "integer", "MODEL": "string", "FAST": "boolean", "T": "number"}
    assert card.with_defaults({})["DOWNSAMPLE"] == 10
    assert loaded(config, DOWNSAMPLE=4).parameters["DOWNSAMPLE"] == 4
    with pytest.raises(OrderError, match="there is no such parameter"):
        loaded(config, PATH="/evil")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"parameters": {"SCAN_URL": "x"}}, "parameters.SCAN_URL: every run is given its own"),
        ({"parameters": {"A-B": 1}}, "parameters.A-B: it is the name of a variable"),
        ({"parameters": {"A": [1]}}, "parameters.A: a default is a text, a number"),
        ({"stains": ["H&E"]}, "stains: the kind 'command' does not look at the stain"),
        ({"folder": "/models"}, "folder: the kind 'command' takes none"),
        ({"kind": "ki67", "command": None, "allow_hosts": ["a"]}, "allow_hosts: only the kind"),
    ],
    ids=["given", "name", "type", "stains", "folder", "hosts"],
)
def test_what_cannot_work_is_named(entry: dict[str, Any], message: str) -> None:
    """The algorithm alone is unavailable, with the key that is wrong."""
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        registry.card("own", settings(entry).worker.algorithms["own"])


def test_a_class_limits_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs, memory and GPUs are those of the class; its queue is the algorithm's."""
    monkeypatch.setattr(program_kind, "_has_gpu", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-7")
    classes = {
        "small": {"queue": "slow", "cpus": 2, "memory": "4GiB", "gpus": 0},
        "big": {"gpus": 1},
    }
    small = settings({"class": "small"}, classes=classes)
    limits = loaded(small, "auto").program.limits
    assert (limits.cpus, limits.memory_bytes, limits.gpus) == (2, 4 * 2**30, ())
    assert registry.card("own", small.worker.algorithms["own"]).queue == "slow"
    big = settings({"class": "big"}, classes=classes)
    assert loaded(big, "auto").program.limits.gpus == ("GPU-7",)
    assert loaded(big, "cuda:1").program.limits.gpus == ("1",)
    assert loaded(settings({}), "cpu").program.limits.gpus == ()


def test_a_class_with_a_gpu_is_for_machines_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says what to do."""
    monkeypatch.setattr(program_kind, "_has_gpu", lambda: False)
    config = settings({"class": "big"}, classes={"big": {"gpus": 1}})
    with pytest.raises(ConfigError, match="this machine has none"):
        registry.card("own", config.worker.algorithms["own"])


def test_a_courier_announces_no_program() -> None:
    """It cannot know whether the workers have it."""
    assert "own" not in registry.cards_without_model(settings({}).worker.algorithms)
