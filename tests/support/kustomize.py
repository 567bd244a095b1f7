"""Render the overlays as `kubectl kustomize` does, with only the fields that they use.

Where kubectl is installed, a test compares the result with its output.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.support.kubernetes_objects import Object, containers
from tests.support.pages import ROOT

K8S = ROOT / "deploy" / "k8s"
OVERLAYS = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))
FILE = "kustomization.yaml"


def rendered(overlay: str) -> list[Object]:
    """Return every object of an overlay."""
    return render(K8S / "overlays" / overlay)


def render(folder: Path) -> list[Object]:
    """Return every object of a folder with a kustomization.

    Raise ValueError for a field that this module does not support.
    """
    (kustomization,) = documents(folder / FILE)
    api_version = kustomization.pop("apiVersion")
    kind = kustomization.pop("kind")
    if (api_version, kind) != ("kustomize.config.k8s.io/v1beta1", "Kustomization"):
        raise ValueError(f"{folder}: not a Kustomization")
    objects = [obj for name in kustomization.pop("resources") for obj in _resources(folder / name)]
    for field, value in kustomization.items():
        if field not in TRANSFORMERS:
            raise ValueError(
                f"{folder}: the field {field} is not supported; "
                f"tests/support/kustomize.py supports {', '.join(TRANSFORMERS)}"
            )
        changes = value if isinstance(value, list) else [value]
        for change in changes:
            TRANSFORMERS[field](objects, change)
    return objects


def documents(file: Path) -> list[Any]:
    """Return the YAML documents of a file, without empty ones."""
    return [document for document in yaml.safe_load_all(file.read_text()) if document is not None]


def _resources(path: Path) -> list[Object]:
    if path.is_dir():
        return render(path)
    return documents(path)


def _set_namespace(objects: list[Object], name: str) -> None:
    for obj in objects:
        if obj["kind"] == "Namespace":
            obj["metadata"]["name"] = name
        else:
            obj["metadata"]["namespace"] = name


def _set_image_tag(objects: list[Object], change: Object) -> None:
    assert set(change) == {"name", "newTag"}, change
    for container in containers(objects):
        if container["image"].partition(":")[0] == change["name"]:
            container["image"] = f"{change['name']}:{change['newTag']}"


def _apply_patch(objects: list[Object], change: Object) -> None:
    targets = [
        obj
        for obj in objects
        if (obj["kind"], obj["metadata"]["name"]) == tuple(change["target"].values())
    ]
    assert list(change["target"]) == ["kind", "name"]
    assert targets, f"a patch has no target: {change}"
    for obj in targets:
        for operation in yaml.safe_load(change["patch"]):
            _apply_operation(obj, operation)


def _apply_operation(obj: Object, operation: Object) -> None:
    """Apply one operation of a JSON Patch (RFC 6902): `remove` or `replace` of a dict's key."""
    *parents, last = (part.replace("~1", "/") for part in operation["path"].split("/")[1:])
    node: Any = obj
    for part in parents:
        key = int(part) if isinstance(node, list) else part
        node = node[key]
    if last not in node:
        raise ValueError(f"{operation['op']}: there is no {operation['path']}")
    if operation["op"] == "remove":
        del node[last]
    elif operation["op"] == "replace":
        node[last] = operation["value"]
    else:
        raise ValueError(f"the operation {operation['op']} is not supported")


TRANSFORMERS: dict[str, Callable[[list[Object], Any], None]] = {
    "namespace": _set_namespace,
    "images": _set_image_tag,
    "patches": _apply_patch,
}
