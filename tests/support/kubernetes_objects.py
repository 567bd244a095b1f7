"""Objects of Kubernetes as the tests read them: pods, containers, their variables and secrets."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """The name and the pod of everything that makes pods."""
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def containers(objects: list[Object]) -> Iterator[Object]:
    for _, pod in pods(objects):
        yield from [*pod.get("initContainers", ()), *pod["containers"]]


def find(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod(objects: list[Object], name: str) -> Object:
    return dict(pods(objects))[name]


def environment(objects: list[Object], name: str) -> dict[str, str]:
    """What the one container of a pod is started with, secrets left out."""
    (container,) = pod(objects, name)["containers"]
    shared = [
        find(objects, "ConfigMap", source["configMapRef"]["name"])
        for source in container.get("envFrom", ())
    ]
    own = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    return {key: value for one in shared for key, value in one["data"].items()} | own


def secret_keys(pod: Object) -> set[str]:
    """The keys of the Secret that a pod reads."""
    (container,) = pod["containers"]
    refs = [
        one["valueFrom"]["secretKeyRef"] for one in container.get("env", ()) if "valueFrom" in one
    ]
    files = [volume["secret"] for volume in pod.get("volumes", ()) if "secret" in volume]
    assert {ref["name"] for ref in refs} | {one["secretName"] for one in files} == {"slidelane"}
    return {ref["key"] for ref in refs} | {item["key"] for one in files for item in one["items"]}
