"""`python -m tests.deploy.schemas`: every object of every overlay against the schemas of Kubernetes and KEDA.

Without network: a package holds Kubernetes' own schemas for each version, another the models made from KEDA's custom
resource definitions. Both refuse fields that they do not know.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
from kubernetes_validate import SchemaNotFoundError
from pydantic import ValidationError

from tests.support.kubernetes_objects import Object
from tests.support.kustomize import K8S, OVERLAYS, documents, rendered

VERSIONS = ("1.30", "1.37")
EXAMPLE = K8S / "secret.example.yaml"


def fault(one: Object) -> str:
    """What is wrong with an object, or nothing."""
    if one["apiVersion"] == "keda.sh/v1alpha1":
        return _keda_fault(one)
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except SchemaNotFoundError as error:
            return str(error.message)
    return ""


def _keda_fault(one: Object) -> str:
    from cloudcoil.models.keda import v1alpha1

    model: Any = getattr(v1alpha1, one["kind"], None)
    if model is None:
        return f"KEDA has no {one['kind']}"
    try:
        model.model_validate(one, extra="forbid", by_name=False)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
    return ""


def faults() -> Iterator[str]:
    """One line for each object that no cluster would take."""
    whole = {overlay: rendered(overlay) for overlay in OVERLAYS} | {
        EXAMPLE.name: documents(EXAMPLE)
    }
    seen: dict[str, str] = {}
    for name, objects in whole.items():
        for one in objects:
            key = json.dumps(one, sort_keys=True)
            if key not in seen:
                seen[key] = fault(one)
            if seen[key]:
                yield f"deploy/k8s {name}: {one['kind']} {one['metadata']['name']}: {seen[key]}"
    print(
        f"deploy/k8s: {len(OVERLAYS)} overlays, {len(seen)} objects, Kubernetes {' and '.join(VERSIONS)}, KEDA"
    )


if __name__ == "__main__":
    sys.exit("\n".join(faults()) or None)
