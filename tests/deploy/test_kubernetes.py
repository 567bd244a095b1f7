"""The objects of deploy/k8s, read without a cluster. tests/deploy/schemas.py checks the schemas."""

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.schemas import fault
from tests.support.kubernetes_objects import (
    Object,
    containers,
    environment,
    find,
    pod,
    pods,
    secret_keys,
)
from tests.support.kustomize import K8S, OVERLAYS, rendered
from tests.support.pages import blocks, read

HAND_BACK_S = 30


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl to compare with")
def test_our_rendering_is_that_of_kubectl(overlay: str) -> None:
    """The tests read the same objects that kubectl would send to a cluster."""
    command = ["kubectl", "kustomize", str(K8S / "overlays" / overlay)]
    real = yaml.safe_load_all(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )

    def by_name(objects: Any) -> dict[tuple[str, str], Object]:
        return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}

    assert by_name(rendered(overlay)) == by_name(real)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl to render with")
def test_the_overlay_that_the_docs_show_can_be_rendered(tmp_path: Path) -> None:
    """An overlay over ours with its own registry, hosts and size, as in docs/deploy.md."""
    (shown,) = blocks(read("docs/deploy.md"), "yaml")
    overlay = os.path.relpath(K8S / "overlays" / "gpu", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(
        shown.replace("../slidelane/deploy/k8s/overlays/gpu", overlay)
    )
    output = subprocess.run(
        ["kubectl", "kustomize", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    objects = list(yaml.safe_load_all(output))
    assert [fault(obj) for obj in objects if fault(obj)] == []
    assert find(objects, "ScaledObject", "worker")["spec"]["maxReplicaCount"] == 16
    assert "registry.example/slidelane-worker:0.1.0-gpu" in {
        container["image"] for container in containers(objects)
    }


INVALID: dict[str, Callable[[list[Object]], object]] = {
    "an unknown field": lambda objects: pod(objects, "api").update(enableServiceLink=False),
    "a word for a number": lambda objects: pod(objects, "worker").update(
        terminationGracePeriodSeconds="long"
    ),
    "no selector": lambda objects: find(objects, "Deployment", "courier")["spec"].pop("selector"),
    "a trigger without a type": lambda objects: find(objects, "ScaledObject", "worker")["spec"][
        "triggers"
    ][0].pop("type"),
    "an unknown field of KEDA": lambda objects: find(objects, "ScaledObject", "worker")[
        "spec"
    ].update(minReplicas=0),
}


@pytest.mark.parametrize("how", INVALID)
def test_what_no_cluster_would_take_is_found(how: str) -> None:
    """Objects that a cluster would refuse fail the check of the schemas."""
    objects = copy.deepcopy(rendered("gpu"))
    assert [fault(obj) for obj in objects if fault(obj)] == []
    INVALID[how](objects)
    assert len([fault(obj) for obj in objects if fault(obj)]) == 1


def test_everything_that_is_mounted_is_there(objects: list[Object]) -> None:
    """Each mount has a volume, each volume has a claim, and the API mounts its data read-only."""
    claims = {obj["metadata"]["name"] for obj in objects if obj["kind"] == "PersistentVolumeClaim"}
    templates = {"redis": {"redis"}}
    for name, each in pods(objects):
        volumes = {volume["name"]: volume for volume in each.get("volumes", ())}
        (container,) = each["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(
            volumes
        ) | templates.get(name, set())
        used = {
            v["persistentVolumeClaim"]["claimName"]
            for v in volumes.values()
            if "persistentVolumeClaim" in v
        }
        assert used <= claims, name
    mounts = {
        mount["name"]: mount for mount in pod(objects, "api")["containers"][0]["volumeMounts"]
    }
    assert mounts["data"]["readOnly"] is True


def test_selectors_find_their_pods(objects: list[Object]) -> None:
    """Each Deployment, Service and budget selects one component; policies name existing ones."""
    labels = {
        obj["metadata"]["name"]: obj["spec"]["template"]["metadata"]["labels"]
        for obj in objects
        if obj["kind"] in ("Deployment", "StatefulSet")
    }
    for obj in objects:
        name, spec = obj["metadata"]["name"], obj.get("spec", {})
        if obj["kind"] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert spec["selector"]["matchLabels"] == labels[name]
        elif obj["kind"] == "Service":
            assert spec["selector"] == labels[name]
    policies = json.dumps([obj["spec"] for obj in objects if obj["kind"] == "NetworkPolicy"])
    named = set(re.findall(r'"app.kubernetes.io/component": "(\w+)"', policies))
    named |= {
        name
        for group in re.findall(r'"values": \[([^]]*)\]', policies)
        for name in json.loads(f"[{group}]")
    }
    assert named <= set(labels)


def test_ports_match(objects: list[Object]) -> None:
    """Probes, Services and network policies name the port that the container listens on."""
    for name, each in pods(objects):
        (container,) = each["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        probes = [container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= set(ports), (
            name
        )
        for obj in objects:
            if obj["kind"] == "Service" and obj["metadata"]["name"] == name:
                assert [(p["targetPort"], p["port"]) for p in obj["spec"]["ports"]] == list(
                    ports.items()
                )
    assert environment(objects, "api")["SLIDELANE_SERVICES__PORT"] == "8000"
    assert "--port=5555" in pod(objects, "flower")["containers"][0]["args"]
    (allowed,) = find(objects, "NetworkPolicy", "callers")["spec"]["ingress"]
    assert allowed == {"ports": [{"protocol": "TCP", "port": 8000}]}


@pytest.mark.parametrize("name", ["worker", "courier"])
def test_a_pod_that_must_go_has_time_to_hand_its_work_back(
    objects: list[Object], name: str
) -> None:
    """Kubernetes waits for worker.grace_s and the time to hand work back before it kills a pod."""
    grace_s = float(environment(objects, name)["SLIDELANE_WORKER__GRACE_S"])
    assert pod(objects, name)["terminationGracePeriodSeconds"] >= grace_s + HAND_BACK_S


@pytest.mark.parametrize("name", ["api", "courier", "worker", "viewer", "flower"])
def test_no_probe_needs_another_pod_to_be_well(objects: list[Object], name: str) -> None:
    """The API is ready without workers; workers restart after ten minutes without Redis."""
    (container,) = pod(objects, name)["containers"]
    if name in ("api", "viewer"):
        paths = {
            container[probe]["httpGet"]["path"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        assert paths == {"/healthz"}
        return
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == ["slidelane", "health", name]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["periodSeconds"] * container[probe]["failureThreshold"] >= 600


def test_the_probes_ask_for_roles_that_there_are() -> None:
    """`slidelane health` accepts each role that a probe names."""
    health = pytest.importorskip("slidelane.health", reason="there is no `slidelane health` yet")
    assert {"courier", "worker"} <= set(health.ROLES)


def test_the_autoscaler_follows_the_queue_of_its_workers(objects: list[Object]) -> None:
    """Workers scale from none to a maximum by the length of the one queue that they consume."""
    spec = find(objects, "ScaledObject", "worker")["spec"]
    assert spec["scaleTargetRef"]["name"] == "worker"
    assert "replicas" not in find(objects, "Deployment", "worker")["spec"], (
        "each apply would undo the autoscaler"
    )
    assert (spec["minReplicaCount"], spec["maxReplicaCount"] > 1) == (0, True)
    (trigger,) = spec["triggers"]
    (queue,) = json.loads(environment(objects, "worker")["SLIDELANE_WORKER__QUEUES"])
    namespace = find(objects, "Service", "api")["metadata"]["namespace"]
    assert trigger["metadata"]["url"] == f"http://api.{namespace}:8000/v1/queues/{queue}"
    find(objects, "TriggerAuthentication", trigger["authenticationRef"]["name"])


def test_workers_have_one_gpu_each_or_none() -> None:
    """The overlay `cpu` differs from `gpu` only in the device, the image and the GPU."""
    gpu = rendered("gpu")
    cpu = rendered("cpu")
    limits = {
        name: pod(objects, "worker")["containers"][0]["resources"]["limits"]
        for name, objects in (("gpu", gpu), ("cpu", cpu))
    }
    assert limits["gpu"].pop("nvidia.com/gpu") == 1
    assert limits["gpu"] == limits["cpu"]
    assert (
        environment(gpu, "worker")["SLIDELANE_WORKER__DEVICE"],
        environment(cpu, "worker")["SLIDELANE_WORKER__DEVICE"],
    ) == (
        "cuda",
        "cpu",
    )
    assert {container["image"] for container in containers(cpu)} == {
        "slidelane-api:0.1.0",
        "slidelane-worker:0.1.0-cpu",
        "redis:7.2.16-bookworm",
    }


def test_the_overlay_with_a_url_has_no_redis_of_ours() -> None:
    """The overlay `redis-url` has no Redis and differs from `gpu` in nothing else."""
    ours = rendered("gpu")
    theirs = rendered("redis-url")
    assert [obj for obj in ours if obj["metadata"]["name"] != "redis"] == theirs
    assert "redis-password" not in {key for _, each in pods(theirs) for key in secret_keys(each)}
