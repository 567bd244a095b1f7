"""Read Kubernetes objects: pods, containers, their variables and secrets."""

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield the name and the pod spec of every Deployment and StatefulSet."""
    for obj in objects:
        if obj["kind"] in ("Deployment", "StatefulSet"):
            yield obj["metadata"]["name"], obj["spec"]["template"]["spec"]


def containers(objects: list[Object]) -> Iterator[Object]:
    """Yield every container of every pod, init containers included."""
    for _, pod in pods(objects):
        yield from [*pod.get("initContainers", ()), *pod["containers"]]


def find(objects: list[Object], kind: str, name: str) -> Object:
    """Return the one object of this kind and name."""
    (found,) = [obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == (kind, name)]
    return found


def pod(objects: list[Object], name: str) -> Object:
    """Return the pod spec of the Deployment or StatefulSet `name`."""
    return dict(pods(objects))[name]


def environment(objects: list[Object], name: str) -> dict[str, str]:
    """Return the environment variables of a pod's one container, except secrets."""
    (container,) = pod(objects, name)["containers"]
    shared = [
        find(objects, "ConfigMap", source["configMapRef"]["name"])
        for source in container.get("envFrom", ())
    ]
    variables: dict[str, str] = {}
    for config_map in shared:
        variables |= config_map["data"]
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {}).get("configMapKeyRef")
        if "value" in variable:
            variables[variable["name"]] = variable["value"]
        elif source:
            config_map = find(objects, "ConfigMap", source["name"])
            variables[variable["name"]] = config_map["data"][source["key"]]
    return variables


def secret_keys(pod: Object) -> set[str]:
    """Return the keys that a pod reads of the Secret `slidelane`, as variables or files."""
    (container,) = pod["containers"]
    refs = [
        variable["valueFrom"]["secretKeyRef"]
        for variable in container.get("env", ())
        if "secretKeyRef" in variable.get("valueFrom", ())
    ]
    files = [volume["secret"] for volume in pod.get("volumes", ()) if "secret" in volume]
    assert {ref["name"] for ref in refs} | {secret["secretName"] for secret in files} == {
        "slidelane"
    }
    return {ref["key"] for ref in refs} | {
        item["key"] for secret in files for item in secret["items"]
    }


def secret_files(pod: Object) -> set[str]:
    """Return the names of the files that a pod mounts from the Secret `slidelane`."""
    files = [volume["secret"] for volume in pod.get("volumes", ()) if "secret" in volume]
    return {item["path"] for secret in files for item in secret["items"]}
