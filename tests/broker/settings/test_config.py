"""Settings: one file, the environment over it, and a message that names the key."""

import json
import os
from pathlib import Path

import pytest

from broker.settings.config import Config, ConfigError, load, warn_of_old_names
from tests.support.paths import ROOT


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("SLIDELANE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "config.json"
    path.write_text("{}")
    monkeypatch.setenv("SLIDELANE_CONFIG", str(path))
    return path


def test_the_shipped_config_has_exactly_the_three_packages() -> None:
    """The file has one section for each package."""
    shipped = json.loads((ROOT / "config.json").read_text())
    assert set(shipped) == {"broker", "services", "worker"} == set(Config.model_fields)


def test_command_line_beats_environment_beats_file_beats_default(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source yields to the one before it."""
    assert load().services.port == 8000
    config_file.write_text('{"services": {"port": 1}}')
    assert load().services.port == 1
    monkeypatch.setenv("SLIDELANE_SERVICES__PORT", "2")
    assert load().services.port == 2
    assert load(services={"port": 3}).services.port == 3


@pytest.mark.usefixtures("config_file")
def test_a_secret_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME_FILE stands for what is in it, so that no secret is in the environment."""
    (tmp_path / "key").write_text("abc\n")
    monkeypatch.setenv("SLIDELANE_BROKER__SECRET_KEY_FILE", str(tmp_path / "key"))
    secret = load().broker.secret_key
    assert secret
    assert secret.get_secret_value() == "abc"
    assert "abc" not in repr(load())


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ('{"wroker": {}}', "wroker"),
        ('{"worker": {"slides": {"max_byte": 1}}}', "worker.slides.max_byte"),
        ('{"worker": {"device": "gpu"}}', "worker.device"),
        ('{"broker": {"lease_s": 10, "heartbeat_s": 6}}', "broker.lease_s"),
        ('{"services": {"host": "0.0.0.0"}}', "services.keys"),
        ('{"broker": {"redis_url": "http://x"}}', "broker.redis_url"),
        ("{", "cannot be read"),
    ],
)
def test_what_cannot_work_stops_the_start_and_names_the_key(
    config_file: Path, file: str, named: str
) -> None:
    """Unknown keys, impossible values and impossible pairs alike."""
    config_file.write_text(file)
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        load()


@pytest.mark.usefixtures("config_file")
def test_an_unknown_name_in_the_environment_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typing error in a name never silently does nothing."""
    monkeypatch.setenv("SLIDELANE_WORKR__DEVICE", "cpu")
    with pytest.raises(ConfigError, match="SLIDELANE_WORKR__DEVICE"):
        load()


def test_a_config_file_that_is_named_but_absent_stops_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Defaults never stand in for a file that was named."""
    monkeypatch.setenv("SLIDELANE_CONFIG", "/nowhere/config.json")
    with pytest.raises(ConfigError, match=r"/nowhere/config\.json"):
        load()


def test_a_list_that_is_no_json_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable and never its value, which may be a secret."""
    monkeypatch.setenv("SLIDELANE_WORKER__SLIDES__ROOTS", "/slides")
    with pytest.raises(
        ConfigError, match=r"^SLIDELANE_WORKER__SLIDES__ROOTS must be JSON"
    ) as caught:
        load()
    assert "/slides" not in str(caught.value)


OLD_NAMES = {
    "worker": {"lanes": ["gpu", "cpu"], "algorithms": {"mine": {"kind": "grid", "lane": "cpu"}}}
}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    warn_of_old_names()
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_the_old_names_in_the_file_are_read_and_warned_of_once(
    config_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`worker.lanes` and an algorithm's `lane` go on working; one line of the log names the new
    keys."""
    config_file.write_text(json.dumps(OLD_NAMES))
    assert load().worker.queues == ("gpu", "cpu")
    assert load().worker.algorithms["mine"].queue == "cpu"
    (warning,) = warnings_of(caplog)
    assert "worker.lanes is now worker.queues" in warning
    assert "worker.algorithms.mine.lane is now worker.algorithms.mine.queue" in warning


@pytest.mark.usefixtures("config_file")
@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_the_old_names_in_the_environment_are_read_and_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, suffix: str
) -> None:
    """The list is JSON as that of the new name is; both may come from a file that is named."""
    given = {"LANES": '["gpu", "cpu"]', "ALGORITHMS__MINE__LANE": "cpu"}
    for name, value in given.items():
        (tmp_path / name).write_text(value + "\n")
        shown = str(tmp_path / name) if suffix else value
        monkeypatch.setenv(f"SLIDELANE_WORKER__{name}{suffix}", shown)
    monkeypatch.setenv("SLIDELANE_WORKER__ALGORITHMS__MINE__KIND", "grid")
    assert load().worker.queues == ("gpu", "cpu")
    assert load().worker.algorithms["mine"].queue == "cpu"
    (warning,) = warnings_of(caplog)
    assert "worker.lanes is now worker.queues" in warning
    assert "worker.algorithms.mine.queue" in warning


@pytest.mark.usefixtures("config_file")
def test_an_old_list_that_is_no_json_is_told_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is for the new name."""
    monkeypatch.setenv("SLIDELANE_WORKER__LANES", "gpu")
    with pytest.raises(ConfigError, match=r"^SLIDELANE_WORKER__LANES must be JSON"):
        load()


def test_the_new_names_are_not_warned_of(
    config_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file without old names starts without a word about them."""
    config_file.write_text('{"worker": {"queues": ["cpu"]}}')
    assert load().worker.queues == ("cpu",)
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"lanes": ["a"], "queues": ["a"]}, "worker.lanes"),
        (
            {"algorithms": {"mine": {"kind": "grid", "lane": "a", "queue": "a"}}},
            "worker.algorithms.mine.lane",
        ),
    ],
)
def test_a_setting_by_both_its_names_stops_the_start(
    config_file: Path, given: dict[str, object], named: str
) -> None:
    """It cannot be known which of the two is meant; the message names the key to remove."""
    config_file.write_text(json.dumps({"worker": given}))
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        load()
    config_file.write_text("{}")
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        load(worker=given)


def test_an_old_name_in_the_environment_beats_the_new_one_in_the_file(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The precedence of the sources does not depend on the names that they use."""
    config_file.write_text('{"worker": {"queues": ["cpu"]}}')
    monkeypatch.setenv("SLIDELANE_WORKER__LANES", '["gpu-24g"]')
    assert load().worker.queues == ("gpu-24g",)
