"""`--set`: parameters of the algorithm, and settings, told apart by their names."""

import argparse
from typing import Any

import pytest

from slidelane.commands.values import add_value_option


def parsed(*texts: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_value_option(parser)
    return parser.parse_args([argument for text in texts for argument in ("--set", text)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("threshold=0.5", 0.5),
        ("threshold=2", 2),
        ("threshold=null", None),
        ("threshold=true", True),
        ("threshold=warn", "warn"),
        ('threshold="7"', "7"),
        ("threshold=", ""),
        ("threshold=a=b", "a=b"),
        ("threshold=NaN", "NaN"),
        ("threshold=[1,2]", [1, 2]),
    ],
)
def test_a_parameter_is_json_or_text(text: str, value: Any) -> None:
    """What is no JSON is text, so that words need no quotes."""
    arguments = parsed(text)
    assert (arguments.parameters, arguments.settings) == ({"threshold": value}, [])


def test_a_setting_is_told_by_its_section() -> None:
    """Both may stand in one command; the last value of a name counts."""
    arguments = parsed("worker.device=cpu", "a=1", "services.port=8001", "a=2")
    assert arguments.parameters == {"a": 2}
    assert arguments.settings == [("worker.device", "cpu"), ("services.port", "8001")]


def test_two_commands_share_no_values() -> None:
    """What one command was given does not reach the next."""
    parsed("a=1")
    assert parsed().parameters == {}


@pytest.mark.parametrize("text", ["threshold", "=1", f"{'a' * 65}=1", "worker.=1"])
def test_what_is_neither_ends_with_status_2(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message shows how both look; it does not repeat the value."""
    with pytest.raises(SystemExit) as ended:
        parsed(text)
    assert ended.value.code == 2
    assert "worker.device=cpu" in capsys.readouterr().err
