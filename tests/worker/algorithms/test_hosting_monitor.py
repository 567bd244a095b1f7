"""What a machine announces of its images, containers and classes."""

from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from broker.order_store import OrderStore
from broker.orders.hosting import HostedPrograms
from broker.settings.config import Config, WorkerSettings
from tests.support.image_engines import DIGEST, an_engine
from tests.support.stack import wait_for
from worker.algorithms.hosting import HostingMonitor, hosted_programs
from worker.programs.engines.engine import chosen_engine
from worker.programs.image_definitions import ImageDefinition, ImageDefinitions
from worker.programs.images import short_name

IMAGE = "registry.lab:5000/pathology/mitosis:3"
SETTINGS: dict[str, Any] = {
    "classes": {"g4dn": {"queue": "g4dn", "cpus": 4, "memory": "16GB", "gpus": 1}},
    "algorithms": {
        "mitosis": {
            "kind": "container",
            "image": IMAGE,
            "class": "g4dn",
            "env": {"TOKEN": "a-secret", "DOWNSAMPLE": "10"},
        },
        "own": {"kind": "command", "command": ["true"], "time_limit_s": 60},
    },
}


def settings(**more: Any) -> WorkerSettings:
    return Config.model_validate({"worker": SETTINGS | more}).worker


def announced_by(store: OrderStore) -> HostedPrograms:
    """Return what the only machine announced; nothing where none has yet."""
    machines = store.hosting_machines()
    if not machines:
        return HostedPrograms()
    return machines[0].programs


def test_programs_and_classes_are_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With queue and limit as they hold, and without the values of variables."""
    monkeypatch.setenv("PATH", str(an_engine(tmp_path)))
    programs = hosted_programs(settings(), ())
    assert [card.model_dump() for card in programs.containers] == [
        {
            "name": "mitosis",
            "kind": "container",
            "image": IMAGE,
            "class_name": "g4dn",
            "queue": "g4dn",
            "time_limit_s": 5400,
            "variables": ("DOWNSAMPLE", "TOKEN"),
        },
        {
            "name": "own",
            "kind": "command",
            "image": "",
            "class_name": "",
            "queue": "gpu",
            "time_limit_s": 60,
            "variables": (),
        },
    ]
    assert [card.model_dump() for card in programs.classes] == [
        {"name": "g4dn", "queue": "g4dn", "cpus": 4, "memory_bytes": 16 * 10**9, "gpus": 1}
    ]
    assert "a-secret" not in programs.model_dump_json()


def test_an_image_of_the_settings_needs_no_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is `created` until the engine has it, then `uploaded`."""
    monkeypatch.setenv("PATH", str(an_engine(tmp_path)))
    (card,) = hosted_programs(settings(), ()).images
    assert (card.name, card.image, card.status) == ("mitosis", IMAGE, "created")
    assert (card.created_by, card.created_at) == ("config.json", None)
    chosen_engine().pull(IMAGE)
    (card,) = hosted_programs(settings(), ()).images
    assert (card.status, card.digest) == ("uploaded", f"sha256:{DIGEST}")
    assert card.engine == "podman"


def test_a_definition_has_its_own_name_and_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is forgotten once the image is there, however it got there."""
    monkeypatch.setenv("PATH", str(an_engine(tmp_path)))
    definition = ImageDefinition(
        name="Mitosis 3",
        image=IMAGE,
        failure="podman pull: no route to host",
        created_by="anna",
        created_at=1,
        updated_at=2,
    )
    (card,) = hosted_programs(settings(), (definition,)).images
    assert (card.name, card.status, card.created_by) == ("Mitosis 3", "failed", "anna")
    assert card.failure == "podman pull: no route to host"
    chosen_engine().pull(IMAGE)
    (card,) = hosted_programs(settings(), (definition,)).images
    assert (card.status, card.failure) == ("uploaded", "")


def test_a_machine_without_an_engine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is defined, and there is nothing that could have it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    (card,) = hosted_programs(settings(), ()).images
    assert card.status == "created"
    assert "no engine" in card.failure


def test_a_change_of_a_definition_is_announced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: OrderStore
) -> None:
    """A worker that runs needs no restart; it announces the machine by its name."""
    monkeypatch.setenv("PATH", str(an_engine(tmp_path)))
    definitions = ImageDefinitions(tmp_path / "data")
    stopped = Event()
    monitor = HostingMonitor(settings(algorithms={}), tmp_path / "data", store)
    thread = Thread(target=monitor.run, args=(stopped,), daemon=True)
    thread.start()
    try:
        wait_for(lambda: bool(announced_by(store).classes), 30)
        assert announced_by(store).images == ()
        definitions.put(
            ImageDefinition(name="x", image=IMAGE, created_by="anna", created_at=1, updated_at=2)
        )
        wait_for(lambda: len(announced_by(store).images) == 1, 30)
        definitions.remove(IMAGE)
        wait_for(lambda: announced_by(store).images == (), 30)
    finally:
        stopped.set()
        thread.join(30)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (IMAGE, "mitosis"),
        ("mitosis@sha256:" + "ab" * 32, "mitosis"),
        ("/models/mitosis-3.sif", "mitosis-3"),
        ("docker://lab/mitosis", "mitosis"),
    ],
)
def test_an_image_without_a_name_is_called_by_its_last_part(image: str, name: str) -> None:
    """Without registry, tag, digest and ending."""
    assert short_name(image) == name
