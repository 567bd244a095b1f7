"""What `slidelane image` does on the machine of a worker, in this process."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config, ConfigError
from tests.support.image_engines import an_engine
from worker.commands.events import EventWriter
from worker.commands.images import ImageCommand, ImageRequest
from worker.programs.image_definitions import ImageDefinitions

ALGORITHMS = {
    "mitosis-2": {"kind": "container", "image": "lab/mitosis:2"},
    "mitosis-3": {"kind": "container", "image": "lab/mitosis:3", "engine": "podman"},
}


@pytest.fixture(autouse=True)
def _small_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(an_engine(tmp_path)))
    monkeypatch.setenv("SUDO_USER", "anna")


def done(data: Path, **request: Any) -> list[dict[str, Any]]:
    """Return the images that were told of."""
    config = Config.model_validate({"broker": {"data": data}, "worker": {"algorithms": ALGORITHMS}})
    told = io.StringIO()
    ImageCommand(config, EventWriter(told)).do(ImageRequest.model_validate(request))
    events = [json.loads(line) for line in told.getvalue().splitlines()]
    return [event for event in events if event["event"] == "image"]


def test_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Two versions of one image that algorithms name; the second one keeps its whole name."""
    pulled = done(tmp_path, action="pull")
    assert [(image["name"], image["image"]) for image in pulled] == [
        ("mitosis", "lab/mitosis:2"),
        ("lab/mitosis:3", "lab/mitosis:3"),
    ]
    assert {image["status"] for image in pulled} == {"uploaded"}
    assert [one.engine for one in ImageDefinitions(tmp_path).all()] == ["podman", ""]


def test_who_defined_an_image_first_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else pulls it later, and another one gives it another name."""
    (first,) = done(tmp_path, action="add", words=["lab/x:1"])
    monkeypatch.setenv("SUDO_USER", "ben")
    (pulled,) = done(tmp_path, action="pull", words=["x"])
    (named,) = done(tmp_path, action="add", words=["lab/x:1"], name="X")
    assert (first["created_by"], pulled["created_by"], named["created_by"]) == ("anna",) * 3
    assert first["created_at"] == named["created_at"] < pulled["updated_at"]
    assert named["name"] == "X"


def test_a_failed_pull_is_kept_until_one_succeeds(tmp_path: Path) -> None:
    """As the status and the reason of the image, for whoever lists it."""
    done(tmp_path, action="add", words=["lab/missing:1"])
    (failed,) = done(tmp_path, action="pull", words=["missing"])
    assert failed["status"] == "failed"
    assert "manifest unknown" in failed["failure"]
    listed = {image["image"]: image for image in done(tmp_path, action="list")}
    assert listed["lab/missing:1"]["failure"] == failed["failure"]
    assert listed["lab/mitosis:2"]["status"] == "created"


@pytest.mark.parametrize(
    ("action", "word", "reason"),
    [
        ("pull", "nothing", "there is no image nothing; define it: slidelane image add nothing"),
        ("remove", "nothing", "there is no image nothing; slidelane image list shows them"),
        ("remove", "lab/mitosis:2", "lab/mitosis:2 is named by worker.algorithms.mitosis-2"),
    ],
)
def test_an_image_that_is_not_defined_is_said(
    tmp_path: Path, action: str, word: str, reason: str
) -> None:
    """With what to do instead."""
    with pytest.raises(ConfigError, match=reason):
        done(tmp_path, action=action, words=[word])
