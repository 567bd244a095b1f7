"""`python -m tests.deploy.schemas`: check every object against the schemas of Kubernetes and KEDA.

It needs no network: one package holds the schemas of each version of Kubernetes, another the
models made from KEDA's custom resource definitions. Both refuse unknown fields.
"""

import json
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import kubernetes_validate
from kubernetes_validate import SchemaNotFoundError
from pydantic import ValidationError

from tests.support.kubernetes_objects import Object
from tests.support.kustomize import K8S, OVERLAYS, documents, rendered

VERSIONS = ("1.30", "1.37")
EXAMPLE = K8S / "secret.example.yaml"
MODELS_EXAMPLE = K8S / "models.example.yaml"


def fault(obj: Object) -> str:
    """Return what is wrong with an object, or an empty string."""
    return _fault(json.dumps(obj, sort_keys=True))


@cache
def _fault(text: str) -> str:
    """Return what is wrong with an object that is given as JSON; each is checked once."""
    obj = json.loads(text)
    if obj["apiVersion"] == "keda.sh/v1alpha1":
        return _keda_fault(obj)
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(obj, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except SchemaNotFoundError as error:
            return str(error.message)
    return ""


def _keda_fault(obj: Object) -> str:
    from cloudcoil.models.keda import v1alpha1

    model: Any = getattr(v1alpha1, obj["kind"], None)
    if model is None:
        return f"KEDA has no {obj['kind']}"
    try:
        model.model_validate(obj, extra="forbid", by_name=False)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
    return ""


def faults() -> Iterator[str]:
    """Yield one line for each object that a cluster would refuse, and print a summary."""
    objects_by_name = {overlay: rendered(overlay) for overlay in OVERLAYS}
    for example in (EXAMPLE, MODELS_EXAMPLE):
        objects_by_name[example.name] = documents(example)
    checked: set[str] = set()
    for name, objects in objects_by_name.items():
        for obj in objects:
            checked.add(json.dumps(obj, sort_keys=True))
            found = fault(obj)
            if found:
                yield f"deploy/k8s {name}: {obj['kind']} {obj['metadata']['name']}: {found}"
    print(
        f"deploy/k8s: {len(OVERLAYS)} overlays, {len(checked)} objects, "
        f"Kubernetes {' and '.join(VERSIONS)}, KEDA"
    )


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or None)
