"""The settings, secrets and permissions of the pods of deploy/k8s, read without a cluster."""

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
    secret_files,
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
    "viewer-secret": "v" * 48,
    "api-keys": json.dumps([{"name": "lab", "sha256": "0" * 64}]),
}


def test_every_container_is_locked_down(objects: list[Object]) -> None:
    """No root, no writes to the image, no new privileges, and no access to the cluster's API."""
    for name, each in pods(objects):
        assert each["automountServiceAccountToken"] is False, name
        assert each["securityContext"]["runAsNonRoot"] is True, name
        assert each["securityContext"]["runAsUser"] > 0, name
        assert each["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(each), name
    for container in containers(objects):
        required = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["securityContext"] == required, container["name"]
        assert "memory" in container["resources"]["limits"], container["name"]


def test_no_secret_stands_in_any_file() -> None:
    """Files only name secrets, and the example names exactly those that pods read."""
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
    """Else FLOWER_PORT=tcp://… of the Service `flower` would be read by Flower as its port."""
    assert {obj["metadata"]["name"] for obj in objects if obj["kind"] == "Service"} >= {
        "api",
        "flower",
    }
    assert {name: each["enableServiceLinks"] for name, each in pods(objects)} == dict.fromkeys(
        dict(pods(objects)), False
    )


def test_every_variable_is_a_setting(objects: list[Object]) -> None:
    """A process refuses to start when it finds an unknown variable."""
    for name, _ in pods(objects):
        ours = {key for key in environment(objects, name) if key.startswith("SLIDELANE_")}
        assert {key.removesuffix("_FILE") for key in ours} <= KNOWN, name


@pytest.mark.parametrize("name", ["api", "courier", "worker", "viewer", "flower"])
def test_the_settings_of_every_pod_can_be_loaded(
    objects: list[Object], name: str, tmp_path: Path
) -> None:
    """Its variables and the files of its mounted Secret are loaded as its process does."""
    mounted = secret_files(pod(objects, name))
    variables = environment(objects, name)
    file_variables = [key for key in variables if key.endswith("_FILE")]
    for key in file_variables:
        path = variables[key]
        secret = Path(path).name
        assert secret in mounted, f"{name} reads {path} and does not mount it"
        variables[key] = str(tmp_path / secret)
        Path(variables[key]).write_text(SECRETS[secret])
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "from broker.settings.config import load; load()"]
    subprocess.run(command, cwd=tmp_path, env=base | variables, check=True)


def test_the_viewer_has_no_redis_no_key_and_writes_nothing(objects: list[Object]) -> None:
    """It decodes files that nobody vouches for: one secret, no other, and read-only volumes."""
    viewer = pod(objects, "viewer")
    assert secret_keys(viewer) == {"viewer-secret"}
    assert not [name for name in environment(objects, "viewer") if "REDIS" in name]
    mounts = {mount["name"]: mount for mount in viewer["containers"][0]["volumeMounts"]}
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"tmp"}
    url = environment(objects, "api")["SLIDELANE_BROKER__VIEWER__URL"]
    bind = environment(objects, "viewer")["SLIDELANE_WORKER__VIEWER__BIND"]
    assert url.rpartition(":")[2] == bind.rpartition(":")[2]
