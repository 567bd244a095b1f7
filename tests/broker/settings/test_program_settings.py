"""Classes of machines, and the variables of programs: from every source, and never shown."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config, ConfigError, load
from broker.settings.programs import revealed_variables

CLASSES = {"g4dn.xlarge": {"queue": "g4dn", "cpus": 4, "memory": "16GB", "gpus": 1}, "small": {}}


@pytest.fixture(autouse=True)
def _no_settings_but_the_test_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def program(**keys: Any) -> dict[str, Any]:
    """Return settings with one algorithm that is a program."""
    entry = {"kind": "command", "command": ["true"]} | keys
    return {"worker": {"classes": CLASSES, "algorithms": {"demo": entry}}}


def variables(config: Config) -> dict[str, str]:
    return revealed_variables("demo", config.worker.algorithms["demo"].env)


def test_a_class_states_queue_and_limits() -> None:
    """Memory is written as people write it; what is not stated is no limit, and no GPU."""
    classes = Config(**program()).worker.classes
    assert classes["g4dn.xlarge"].model_dump() == {
        "queue": "g4dn",
        "cpus": 4,
        "memory": 16 * 10**9,
        "gpus": 1,
    }
    assert classes["small"].model_dump() == {
        "queue": "gpu",
        "cpus": None,
        "memory": None,
        "gpus": 0,
    }


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"memory": "16 elephants"}, "memory"),
        ({"memory": "1MB"}, "memory"),
        ({"cpus": 0}, "cpus"),
        ({"gpus": -1}, "gpus"),
        ({"queue": "G4"}, "queue"),
        ({"cpu": 4}, "cpu"),
    ],
    ids=str,
)
def test_a_class_that_cannot_work_stops_the_start(wrong: dict[str, Any], named: str) -> None:
    """The message names the key."""
    with pytest.raises(ConfigError, match=rf"worker\.classes\.big\.{named}: "):
        load(worker={"classes": {"big": wrong}})


def test_an_algorithm_knows_its_class() -> None:
    """And that there is none of such a name."""
    known = Config(**program(**{"class": "g4dn.xlarge"})).worker.algorithms["demo"]
    assert known.machine_class
    assert known.machine_class.queue == "g4dn"
    unknown = Config(**program(**{"class": "huge"})).worker.algorithms["demo"]
    assert unknown.machine_class is None
    assert unknown.known_classes == ("g4dn.xlarge", "small")


def test_the_value_of_a_variable_may_be_in_a_file(tmp_path: Path) -> None:
    """It is read when it is used, so a changed secret needs no restart."""
    file = tmp_path / "license"
    file.write_text("first\n")
    config = Config(**program(env={"LICENSE_KEY": {"file": str(file)}, "DOWNSAMPLE": "10"}))
    assert variables(config) == {"LICENSE_KEY": "first", "DOWNSAMPLE": "10"}
    file.write_text("second\r\n")
    assert variables(config)["LICENSE_KEY"] == "second"


def test_variables_of_a_program_come_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names keep capitals and double underscores, their values are text whatever they look
    like, and they go before those of the file."""
    (tmp_path / "config.json").write_text(
        json.dumps(program(env={"DOWNSAMPLE": "10", "Mixed": "kept"}))
    )
    (tmp_path / "secret").write_text("from a file\n")
    prefix = "SLIDELANE_WORKER__ALGORITHMS__DEMO__ENV__"
    monkeypatch.setenv(f"{prefix}DOWNSAMPLE", "20")
    monkeypatch.setenv(f"{prefix}SIZES", "[1, 2]")
    monkeypatch.setenv(f"{prefix}MODEL__NAME", "mitosis")
    monkeypatch.setenv(f"{prefix}TOKEN_FILE", str(tmp_path / "secret"))
    assert variables(load()) == {
        "DOWNSAMPLE": "20",
        "Mixed": "kept",
        "SIZES": "[1, 2]",
        "MODEL__NAME": "mitosis",
        "TOKEN": "from a file",
    }


def test_a_program_can_be_given_by_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without a config.json of its own."""
    prefix = "SLIDELANE_WORKER__ALGORITHMS__DEMO__"
    monkeypatch.setenv(f"{prefix}KIND", "command")
    monkeypatch.setenv(f"{prefix}COMMAND", '["python3", "main.py"]')
    monkeypatch.setenv(f"{prefix}ENV__TOKEN", "secret")
    entry = load().worker.algorithms["demo"]
    assert (entry.kind, entry.command) == ("command", ("python3", "main.py"))
    assert variables(load()) == {"TOKEN": "secret"}


def test_the_value_of_a_variable_is_never_shown() -> None:
    """Neither as settings are printed, nor in the message for a wrong one."""
    config = Config(**program(env={"TOKEN": "a-secret"}))
    assert "a-secret" not in repr(config) + str(config) + config.model_dump_json()
    with pytest.raises(ConfigError) as refused:
        load(**program(env={"TOKEN": ["a-secret"]}))
    assert "worker.algorithms.demo.env.TOKEN: " in str(refused.value)
    assert "a-secret" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        revealed_variables(
            "demo", Config(**program(env={"TOKEN": "a-secret\0"})).worker.algorithms["demo"].env
        )
    assert "a-secret" not in str(refused.value)
