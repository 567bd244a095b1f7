"""Which report types of Techcyte go with which output of a network.

One wrong `report.type` makes Techcyte refuse all results of an order (Techcyte's developer kit,
`posting-external-model-results`), so it is checked when the model file is read.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from worker.algorithms.model_folder.errors import KeyedError

_ALL: Final = ("tiles", "mask", "objects", "embeddings", "slide")
_COUNTED: Final = ("tiles", "mask", "objects")
_OUTPUTS: Final[Mapping[str, tuple[str, ...]]] = {
    "Basic": _ALL,
    "RegionCounting": ("objects",),
    "AiMitosisCounting": ("objects",),
    "WholeSlideDifferential": _COUNTED,
    "SemiQuantitativeDifferential": _COUNTED,
    "AreaDifferential": _COUNTED,
    "TumorCellularity": ("mask", "objects"),
}
_CLASS_KEYS: Final[Mapping[str, str]] = {
    "AiMitosisCounting": "mitosis",
    "TumorCellularity": "tumor",
}
"""The key of a report that names classes."""


def check_report(report: Mapping[str, Any], output: str, classes: Collection[str]) -> None:
    """Raise KeyedError unless the report goes with the output and names classes that there are."""
    kind = report.get("type")
    if not isinstance(kind, str) or kind not in _OUTPUTS:
        raise KeyedError("report.type", f"there are: {', '.join(_OUTPUTS)}")
    if output not in _OUTPUTS[kind]:
        raise KeyedError(
            "report.type",
            f"{kind} does not go with the output {output}, but with {', '.join(_OUTPUTS[kind])}",
        )
    for key in report:
        if key != "type" and key != _CLASS_KEYS.get(kind):
            raise KeyedError(f"report.{key}", f"{kind} has no such key")
    if kind == "AiMitosisCounting":
        _check_class("report.mitosis", report.get("mitosis"), classes)
    if kind == "TumorCellularity":
        _check_tumor(report.get("tumor"), classes)


def _check_tumor(given: object, classes: Collection[str]) -> None:
    if not isinstance(given, list) or not given:
        raise KeyedError("report.tumor", "a list of at least one class is needed")
    for one in given:
        _check_class("report.tumor", one, classes)


def _check_class(key: str, given: object, classes: Collection[str]) -> None:
    if given not in classes:
        raise KeyedError(key, f"the name of a class is needed; there are: {', '.join(classes)}")
