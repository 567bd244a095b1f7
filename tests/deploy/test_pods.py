"""What the pods of deploy/k8s may do and what they are told: settings, secrets, rights. Read without a cluster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.schemas import EXAMPLE
from tests.support.kubernetes_objects import (
    Object,
    containers,
    environment,
    find,
    pod,
    pods,
    secret_keys,
)
from tests.support.kustomize import K8S, rendered
from tests.support.pages import ROOT
from tests.test_docs_settings import EXPECTED

KNOWN = {row[0].strip("`") for row in EXPECTED.values()}
FERNET_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRETS = {
    "redis-url": "redis://:p@redis:6379/0",
    "secret-key": FERNET_KEY,
    "api-keys": json.dumps([{"name": "lab", "sha256": "0" * 64}]),
}


def test_every_container_is_locked_down(objects: list[Object]) -> None:
    """Nobody is root, nothing of an image is written, nothing gained, and none speaks to the cluster."""
    for name, each in pods(objects):
        assert each["automountServiceAccountToken"] is False, name
        assert each["securityContext"]["runAsNonRoot"] is True, name
        assert each["securityContext"]["runAsUser"] > 0, name
        assert each["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(each), name
    for container in containers(objects):
        locked = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == locked, container["name"]
        assert "memory" in container["resources"]["limits"], container["name"]


def test_no_secret_stands_in_any_file() -> None:
    """They are named, never given; and the example names each that is read, and no other."""
    for file in K8S.rglob("*.yaml"):
        assert not re.search(
            r"(?i)(password|token|secret|key)s?: *[\"']?[A-Za-z0-9+/_-]{16,}", file.read_text()
        ), file
    assert [file for file in K8S.rglob("*.yaml") if "kind: Secret" in file.read_text()] == [EXAMPLE]
    assert yaml.safe_load(EXAMPLE.read_text())["stringData"] == {}
    objects = rendered("gpu")
    read = {key for _, each in pods(objects) for key in secret_keys(each)}
    read |= {
        ref["key"]
        for ref in find(objects, "TriggerAuthentication", "autoscaler")["spec"]["secretTargetRef"]
    }
    assert set(re.findall(r"^  # ([a-z-]+):$", EXAMPLE.read_text(), re.MULTILINE)) == read


def test_variables_of_services_do_not_reach_our_pods(objects: list[Object]) -> None:
    """Kubernetes would put FLOWER_PORT=tcp://… beside the Service `flower`, and Flower take it for its port."""
    assert {one["metadata"]["name"] for one in objects if one["kind"] == "Service"} >= {
        "api",
        "flower",
    }
    assert {name: each["enableServiceLinks"] for name, each in pods(objects)} == dict.fromkeys(
        dict(pods(objects)), False
    )


def test_every_variable_is_a_setting(objects: list[Object]) -> None:
    """A name that was mistyped or renamed would stop every start."""
    for name, _ in pods(objects):
        ours = {key for key in environment(objects, name) if key.startswith("SLIDELANE_")}
        assert {key.removesuffix("_FILE") for key in ours} <= KNOWN, name


@pytest.mark.parametrize("name", ["api", "courier", "worker", "flower"])
def test_the_settings_of_every_pod_can_be_loaded(
    objects: list[Object], name: str, tmp_path: Path
) -> None:
    """As its process would load them: its variables, and the files of the Secret that it mounts."""
    mounted = secret_keys(pod(objects, name))
    given = environment(objects, name)
    for key, path in [(key, path) for key, path in given.items() if key.endswith("_FILE")]:
        secret = Path(path).name
        assert secret in mounted, f"{name} reads {path} and does not mount it"
        given[key] = str(tmp_path / secret)
        Path(given[key]).write_text(SECRETS[secret])
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from broker.settings.config import load; load()"]
    subprocess.run(command, cwd=tmp_path, env=plain | given, check=True)
