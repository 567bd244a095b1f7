"""The overlays as `kubectl kustomize` would render them: the few words of kustomize that they use, and no other.

Owns what those words mean; a test holds it to the real program where there is one. Must not know what is rendered.
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
    """Every object of an overlay."""
    return render(K8S / "overlays" / overlay)


def render(folder: Path) -> list[Object]:
    """Every object of a folder with a kustomization. Raises `ValueError` for a word that is not known here."""
    (asked,) = documents(folder / FILE)
    if (asked.pop("apiVersion"), asked.pop("kind")) != (
        "kustomize.config.k8s.io/v1beta1",
        "Kustomization",
    ):
        raise ValueError(f"{folder}: not a Kustomization")
    objects = [one for name in asked.pop("resources") for one in named(folder / name)]
    for word, value in asked.items():
        if word not in WORDS:
            raise ValueError(
                f"{folder}: {word} is not rendered here; tests/support/kustomize.py knows {', '.join(WORDS)}"
            )
        for part in value if isinstance(value, list) else [value]:
            WORDS[word](objects, part)
    return objects


def documents(file: Path) -> list[Any]:
    return [one for one in yaml.safe_load_all(file.read_text()) if one is not None]


def named(path: Path) -> list[Object]:
    return render(path) if path.is_dir() else documents(path)


def _namespace(objects: list[Object], name: str) -> None:
    for one in objects:
        if one["kind"] == "Namespace":
            one["metadata"]["name"] = name
        else:
            one["metadata"]["namespace"] = name


def _image(objects: list[Object], change: Object) -> None:
    assert set(change) == {"name", "newTag"}, change
    for container in containers(objects):
        if container["image"].partition(":")[0] == change["name"]:
            container["image"] = f"{change['name']}:{change['newTag']}"


def _patch(objects: list[Object], change: Object) -> None:
    meant = [
        one
        for one in objects
        if (one["kind"], one["metadata"]["name"]) == tuple(change["target"].values())
    ]
    assert list(change["target"]) == ["kind", "name"]
    assert meant, f"a patch has no target: {change}"
    for one in meant:
        for step in yaml.safe_load(change["patch"]):
            _step(one, step)


def _step(one: Object, step: Object) -> None:
    *way, last = (part.replace("~1", "/") for part in step["path"].split("/")[1:])
    place: Any = one
    for part in way:
        place = place[int(part) if isinstance(place, list) else part]
    if last not in place:
        raise ValueError(f"{step['path']} is not there to {step['op']}")
    if step["op"] == "remove":
        del place[last]
    elif step["op"] == "replace":
        place[last] = step["value"]
    else:
        raise ValueError(f"{step['op']} is not rendered here")


WORDS: dict[str, Callable[[list[Object], Any], None]] = {
    "namespace": _namespace,
    "images": _image,
    "patches": _patch,
}
