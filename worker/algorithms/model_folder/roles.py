"""Which roles the answer of a network has, by output, and where in the answer each one is."""

from collections.abc import Mapping
from typing import Final

from worker.algorithms.model_folder.errors import KeyedError
from worker.algorithms.model_folder.model_file import AnyModel, ObjectsModel

_DEFAULTS: Final[Mapping[str, Mapping[str, int]]] = {
    "tiles": {"logits": 0},
    "mask": {"logits": 0},
    "labels": {"labels": 0},
    "centres": {"heat": 0},
    "boxes": {"boxes": 0, "scores": 1, "labels": 2},
    "embeddings": {"features": 0},
    "slide": {"logits": 0},
}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "tiles": ("logits",),
    "mask": ("logits",),
    "labels": ("labels",),
    "centres": ("heat",),
    "boxes": ("boxes", "scores"),
    "embeddings": ("features",),
    "slide": ("logits",),
}
_OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "labels": ("classes", "scores"),
    "boxes": ("labels",),
    "slide": ("attention",),
}


def roles_of(model: AnyModel) -> Mapping[str, int | str]:
    """Return where each role of the network's answer is: a number, or a name."""
    return model.outputs or _DEFAULTS[_kind(model)]


def needed_roles(model: AnyModel) -> tuple[str, ...]:
    """Return the roles without which an answer makes no result; the first one is the main one."""
    return _NEEDED[_kind(model)]


def check_roles(model: AnyModel) -> None:
    """Raise KeyedError where `outputs` lacks a role or has an unknown one."""
    if model.outputs is None:
        return
    kind = _kind(model)
    known = (*_NEEDED[kind], *_OPTIONAL.get(kind, ()))
    for role in model.outputs:
        if role not in known:
            raise KeyedError(f"outputs.{role}", f"the roles of {kind} are: {', '.join(known)}")
    for role in _NEEDED[kind]:
        if role not in model.outputs:
            raise KeyedError(f"outputs.{role}", "it is needed")


def _kind(model: AnyModel) -> str:
    if isinstance(model, ObjectsModel):
        return model.style
    return model.output
