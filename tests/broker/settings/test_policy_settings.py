"""Settings of policies, templates and watched folders."""

from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config, ConfigError, load
from broker.settings.services.policies import WatchedFolder

KI67 = {"name": "ki67", "match": {"stain": "Ki67", "label.study": ["A*", "B"]}, "algorithm": "ki67"}


def settings(services: dict[str, Any] | None = None, watch: dict[str, Any] | None = None) -> Config:
    worker: dict[str, Any] = {"slides": {"roots": ["/slides"]}}
    if watch is not None:
        worker["watch"] = [watch]
    return load(services={"policies": [KI67]} | (services or {}), worker=worker)


def test_one_value_of_a_condition_needs_no_list() -> None:
    """A text is a list of one; the event is that a scan has arrived."""
    (policy,) = settings().services.policies
    assert policy.match == {"stain": ("Ki67",), "label.study": ("A*", "B")}
    assert policy.event == "scan"
    assert policy.destination_fields == {"type": "none"}


@pytest.mark.parametrize(
    ("services", "watch", "says"),
    [
        ({"policies": [KI67, KI67]}, None, "two policies are called 'ki67'"),
        ({"policies": [KI67 | {"match": {"label.": "x"}}]}, None, "'label.' is nothing that a"),
        ({"policies": [KI67 | {"match": {"scanner": "x"}}]}, None, "'scanner' is nothing that"),
        ({"policies": [KI67 | {"event": "case"}]}, None, "event"),
        ({"policies": [KI67 | {"destination": "lab"}]}, None, "no destination 'lab'"),
        (
            {"policies": [KI67 | {"destination": {"type": "webhook", "url": "https://10.0.0.8/"}}]},
            None,
            "services.policies[ki67].destination",
        ),
        ({"templates": {"hot": {"algorithm": "ki67", "destination": "lab"}}}, None, "'lab'"),
        ({"templates": {"hot": {"algorithm": "ki67", "allow": ["scans"]}}}, None, "'scans' cannot"),
        ({"templates": {"hot": {"algorithm": "ki67", "roi": {"max_count": 0}}}}, None, "max_count"),
        ({}, {"path": "/slides/in", "policy": "her2"}, "there is no policy 'her2'"),
        ({}, {"path": "/elsewhere"}, "must lie below one of worker.slides.roots"),
        ({}, {"path": "/slides/../etc"}, "must lie below one of worker.slides.roots"),
        ({"policies": []}, {"path": "/slides/in"}, "nothing would be ordered"),
        ({}, {"path": "/slides/in", "labels_from": "{case}/{case}"}, "each name once"),
        ({}, {"path": "/slides/in", "interval_s": 0}, "interval_s"),
    ],
)
def test_what_cannot_work_stops_the_start(
    services: dict[str, Any], watch: dict[str, Any] | None, says: str
) -> None:
    """The message names the key and what is wrong with it."""
    with pytest.raises(ConfigError, match=says.replace("[", r"\[").replace(".", r"\.")):
        settings(services, watch)


def test_the_same_folder_is_watched_once_for_a_policy() -> None:
    """Two entries for one folder and policy would order nothing more; two policies may share it."""
    folder = {"path": "/slides/in", "policy": "ki67"}
    twice: dict[str, Any] = {"slides": {"roots": ["/slides"]}, "watch": [folder, folder]}
    with pytest.raises(ConfigError, match="watched twice"):
        load(services={"policies": [KI67]}, worker=twice)
    both = twice | {"watch": [folder, {"path": "/slides/in"}]}
    assert len(load(services={"policies": [KI67]}, worker=both).worker.watch) == 2


@pytest.mark.parametrize(
    ("pattern", "path", "labels"),
    [
        (None, "S26-1/a.svs", {"lab": "x"}),
        ("{case}/{block}_{stain}.svs", "S26-1/A1_Ki67.svs", {"case": "S26-1", "block": "A1", "stain": "Ki67"}),
        ("{case}/*", "S26-1/a.svs", {"case": "S26-1"}),
        ("{case}/*", "a.svs", {}),
        ("{lab}.svs", "y.svs", {"lab": "y"}),
    ],
)  # fmt: skip
def test_labels_are_read_from_the_path(
    pattern: str | None, path: str, labels: dict[str, str]
) -> None:
    """A name in braces and `*` are any text within one part of the path; no match, no labels."""
    folder = WatchedFolder(path=Path("/slides"), labels={"lab": "x"}, labels_from=pattern)
    assert folder.labels_of(path) == {"lab": "x"} | labels
