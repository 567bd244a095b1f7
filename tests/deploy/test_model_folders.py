"""Every deployment mounts a folder of models read-only, and docs/models-in-deployments.md says how."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import Config, load
from tests.deploy.schemas import MODELS_EXAMPLE, fault
from tests.support.compose_files import PROFILES, compose_file, services
from tests.support.kubernetes_objects import Object, containers, find, pod, pods
from tests.support.kustomize import documents, rendered
from tests.support.pages import ROOT, blocks, read
from tests.test_containers import VARIABLES

PAGE = "docs/models-in-deployments.md"
PLACE = "/models"
SCRIPT = ROOT / "deploy" / "slurm" / "worker.sbatch"
EXAMPLES = (
    "docker-compose.override.example.yml",
    "deploy/k8s/base/settings.yaml",
    "deploy/apptainer/worker.def",
    "deploy/slurm/worker.sbatch",
)
DOWNLOADERS = {"huggingface-hub", "timm", "torchvision", "transformers", "wsinfer", "pooch"}
"""Libraries that fetch models by themselves."""


def models_of(service: dict[str, Any]) -> list[str]:
    return [volume for volume in service.get("volumes", ()) if f":{PLACE}" in volume]


@pytest.mark.parametrize("profile", PROFILES)
def test_compose_mounts_the_folder_read_only_in_workers_alone(profile: str) -> None:
    """`MODELS` names another folder than ./models."""
    mounts = {
        name: models_of(service)
        for name, service in services(profile, VARIABLES | {"MODELS": "/srv/networks"}).items()
    }
    assert mounts.pop("worker") == [f"/srv/networks:{PLACE}:ro"]
    assert set(map(tuple, mounts.values())) == {()}
    assert models_of(services(profile, VARIABLES)["worker"]) == [f"./models:{PLACE}:ro"]


@pytest.mark.parametrize(
    "file", ["docker-compose.override.example.yml", "deploy/compose/podman.yml"]
)
def test_a_file_that_is_merged_over_it_keeps_the_mount(file: str) -> None:
    """Neither the example nor the file for podman has volumes of its own for the worker."""
    content = compose_file(file, VARIABLES)
    assert "volumes" not in content.get("services", {}).get("worker", {})


def test_kubernetes_mounts_the_claim_read_only_in_workers_alone(objects: list[Object]) -> None:
    """As a volume and in the container, so that no owner of its files is changed either."""
    find(objects, "PersistentVolumeClaim", "models")
    for name, each in pods(objects):
        volumes = [volume for volume in each.get("volumes", ()) if volume["name"] == "models"]
        mounts = [
            mount for mount in each["containers"][0]["volumeMounts"] if mount["name"] == "models"
        ]
        if name != "worker":
            assert volumes == mounts == [], name
            continue
        assert [volume["persistentVolumeClaim"] for volume in volumes] == [
            {"claimName": "models", "readOnly": True}
        ]
        assert mounts == [{"name": "models", "mountPath": PLACE, "readOnly": True}]


def test_the_pod_that_fills_the_claim_is_one_that_the_namespace_takes() -> None:
    """It is locked down as a worker is, has its image and its user, and mounts the claim to write."""
    (filler,) = documents(MODELS_EXAMPLE)
    assert fault(filler) == ""
    objects = rendered("gpu")
    worker = pod(objects, "worker")
    spec = filler["spec"]
    assert (
        filler["metadata"]["namespace"]
        == find(objects, "Namespace", "slidelane")["metadata"]["name"]
    )
    assert spec["securityContext"] == worker["securityContext"]
    assert (spec["automountServiceAccountToken"], spec["restartPolicy"]) == (False, "Never")
    (container,) = spec["containers"]
    (its,) = worker["containers"]
    assert (container["image"], container["securityContext"]) == (
        its["image"],
        its["securityContext"],
    )
    assert container["volumeMounts"] == [{"name": "models", "mountPath": PLACE}]
    assert spec["volumes"] == [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    assert "models" not in {each["name"] for each in containers(objects)}


def test_apptainer_binds_the_folder_read_only() -> None:
    """The definition says it in its help, and the page for a whole command."""
    definition = (ROOT / "deploy" / "apptainer" / "worker.def").read_text()
    assert f"--bind MODELS:{PLACE}:ro" in definition
    assert f"--bind /shared/slidelane/models:{PLACE}:ro" in read(PAGE)
    image = (ROOT / "Dockerfile.worker").read_text()
    assert f"mkdir -p {PLACE} " in image, "Apptainer without overlays binds only to what is there"


def job(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the batch script with an `apptainer` that prints its arguments."""
    apptainer = folder / "apptainer"
    apptainer.write_text('#!/bin/sh\necho "$@"\n')
    apptainer.chmod(0o755)
    url = folder / "secrets" / "redis-url"
    url.parent.mkdir()
    url.write_text("redis://:p@127.0.0.1:1/0")
    url.chmod(0o600)
    env = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "FOLDER": str(folder),
        "SIF": "worker.sif",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_END_TIME": "99999999999",
    }
    return subprocess.run(
        ["bash", SCRIPT], env=env | settings, capture_output=True, text=True, check=False
    )


def binds(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return re.findall(r"--bind (\S+)", done.stdout)


def test_slurm_binds_the_folder_read_only_at_both_places(tmp_path: Path) -> None:
    """At its own place too, because the shared folder around it is writable."""
    models = tmp_path / "models"
    models.mkdir()
    assert binds(job(tmp_path)) == [
        str(tmp_path),
        f"{models}:{models}:ro",
        f"{models}:{PLACE}:ro",
    ]


def test_slurm_binds_the_folder_that_models_names(tmp_path: Path) -> None:
    """Of another place, as of one that all groups share."""
    shared = tmp_path / "of-all-groups"
    shared.mkdir()
    assert f"{shared}:{PLACE}:ro" in binds(job(tmp_path, MODELS=str(shared)))


def test_slurm_needs_no_models_and_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Without models nothing more is bound; one that is named and missing is a mistake."""
    assert binds(job(tmp_path)) == [str(tmp_path)]
    (tmp_path / "again").mkdir()
    done = job(tmp_path / "again", MODELS="/nowhere")
    assert (done.returncode, done.stdout) == (64, "")
    assert "MODELS=/nowhere is no folder" in done.stderr


@pytest.mark.parametrize("file", EXAMPLES)
def test_each_file_shows_the_setting(file: str) -> None:
    """As a comment or as help: nothing is set until somebody has a model."""
    text = (ROOT / file).read_text()
    shown = [line for line in text.splitlines() if "__ALGORITHMS__NAME__FOLDER" in line]
    assert len(shown) == 1
    assert re.search(rf"NAME__FOLDER(=|: ){PLACE}/NAME$", shown[0])
    assert shown[0].lstrip().startswith("#") or file.endswith(".def")


def test_the_page_shows_settings_that_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In config.json and in the environment they are the same; `ki67` and `grid` stay."""
    in_file, of_programs = blocks(read(PAGE), "json")
    assert "mitosis" in Config(**json.loads(of_programs)).worker.algorithms
    from_file = load(**json.loads(in_file)).worker.algorithms
    for name, value in re.findall(r"^(?:export )?(SLIDELANE_\w+)=(\S+)$", read(PAGE), re.MULTILINE):
        monkeypatch.setenv(name.replace("NAME", "TUMOUR"), value.replace("NAME", "tumour"))
    algorithms = load().worker.algorithms
    assert algorithms == from_file
    assert algorithms.keys() == {"ki67", "grid", "tumour"}
    assert algorithms["tumour"].folder == Path(PLACE) / "tumour"


def test_the_commands_of_the_page_swap_a_model(tmp_path: Path) -> None:
    """The link names the new version and the old one is kept.

    That a running worker announces it is proven in tests/journey/test_unavailable_algorithms.py.
    """
    (commands,) = [block for block in blocks(read(PAGE), "sh") if "mv -T" in block]
    models = tmp_path / "models"
    (models / "tumour-1").mkdir(parents=True)
    (models / "tumour").symlink_to("tumour-1")
    (tmp_path / "tumour-2").mkdir()
    subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        check=True,
    )
    assert (models / "tumour").readlink() == Path("tumour-2")
    assert {path.name for path in models.iterdir()} == {"tumour", "tumour-1", "tumour-2"}


def test_nothing_in_a_worker_downloads_a_model() -> None:
    """No such library is in the image, and torch's own way to do so is not used."""
    libraries = (ROOT / "deploy" / "requirements" / "worker.txt").read_text()
    assert set(re.findall(r"^([\w.-]+)==", libraries, re.MULTILINE)) & DOWNLOADERS == set()
    code = [path.read_text() for path in (ROOT / "worker").rglob("*.py")]
    assert not [text for text in code if re.search(r"torch\.hub|load_state_dict_from_url", text)]
