"""Makes objects, figures and files of what an `ImageFunction` answers."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from broker.errors import OrderError
from broker.orders.result_files import POSTED
from slidelane.algorithms import AnswerError, Card, Found, Result, check_answer
from slidelane.algorithms.check import techcyte_entry
from slidelane.algorithms.features import features_of, measurements_of
from worker.algorithms.python.found import (
    Names,
    common_names,
    objects_of_features,
    objects_of_found,
)
from worker.algorithms.python.host.remote_context import RemoteContext
from worker.results.objects import Objects, joined
from worker.results.result import MAX_POSTED_BYTES
from worker.results.techcyte_rules.body import check_body

_MOST_FILE_BYTES: Final = 2 * 2**30
_SUFFIXES: Final = (".geojson", ".json")
_DEFAULT_UM: Final = 12.5
_USUAL_MPP: Final = 0.25
"""Assumed for the size of a mark only, where nobody says how large a pixel is."""


class ImageAnswer:
    """What is made of one answer."""

    def __init__(self, card: Card, context: RemoteContext) -> None:
        self._card = card
        self._context = context
        self._names: Names = [entry.name for entry in card.classes]
        self._measured: list[str] = []
        self._summary: dict[str, Any] | None = None
        self._headline = ""
        self._warnings: list[tuple[str, str]] = []
        self._files: dict[str, str] = {}
        self._posted = ""
        half_um = card.post.get("object_um", _DEFAULT_UM) / 2
        mpp = (context.mpp_x or _USUAL_MPP, context.mpp_y or _USUAL_MPP)
        self._half = half_um / np.array(mpp)

    def fields(self) -> dict[str, Any]:
        """Return everything but the objects."""
        return {
            "names": self._names,
            "measured": self._measured,
            "summary": self._summary,
            "headline": self._headline,
            "warnings": self._warnings,
            "files": self._files,
            "posted": self._posted,
        }

    def take(self, answer: Any) -> Objects:
        """Return the objects of an answer. Raises AnswerError."""
        check_answer(self._card, answer, 0)
        if isinstance(answer, str | PathLike):
            return self._take_file(self._own_file(Path(answer), "answer"))
        if isinstance(answer, Result):
            return self._take_result(answer)
        if isinstance(answer, Mapping):
            entry = techcyte_entry(answer)
            if entry is not None and answer.get("type") != "FeatureCollection":
                return self._take_techcyte(entry)
            return self._features(answer)
        if any(isinstance(one, Found) for one in answer):
            return self._found(answer)
        return self._features(answer)

    def _take_file(self, file: Path) -> Objects:
        if file.suffix not in _SUFFIXES:
            raise AnswerError("answer", f"{file.name} is no .geojson and no .json")
        if file.stat().st_size > _MOST_FILE_BYTES:
            raise AnswerError("answer", f"{file.name} is larger than {_MOST_FILE_BYTES} bytes")
        try:
            content = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise AnswerError(file.name, f"it is no JSON: {error}") from None
        if not isinstance(content, dict | list):
            raise AnswerError(file.name, "it holds neither GeoJSON nor scanResults")
        return self.take(content)

    def _take_result(self, result: Result) -> Objects:
        if result.summary:
            self._summary = dict(result.summary)
        self._headline = result.headline
        self._warnings = [(str(code), str(detail)) for code, detail in result.warnings]
        for name, file in result.files.items():
            self._files[str(name)] = str(self._own_file(Path(file), f"files[{name!r}]"))
        found = self._found(result.objects)
        if result.geojson is None:
            return found
        if not result.objects:
            return self._features(result.geojson)
        if self._measured:
            raise AnswerError("measurements", "with both objects and geojson there are none")
        return joined([found, self._features(result.geojson, measured=())])

    def _take_techcyte(self, entry: Mapping[str, Any]) -> Objects:
        """Return the objects of a body of Techcyte's; the figures are its `results`.

        The entry itself is kept for Techcyte, which gets it as it is.
        """
        results = dict(entry.get("results") or {})
        body = {
            **entry,
            "scanId": self._context.scan_id,
            "results": {**results, "order_id": self._context.order_id},
        }
        try:
            posted = json.dumps(
                {"scanResults": [body]}, ensure_ascii=False, allow_nan=False
            ).encode()
            check_body(posted)
        except (OrderError, TypeError, ValueError) as error:
            raise AnswerError("scanResults", str(error)) from None
        if len(posted) > MAX_POSTED_BYTES:
            raise AnswerError("scanResults", f"it is larger than {MAX_POSTED_BYTES} bytes")
        file = self._context.folder / POSTED
        file.write_bytes(posted)
        self._posted = str(file)
        self._headline = str(results.pop("summary", ""))
        self._summary = {**results, "workflow": entry["workflow"]}
        return self._features(entry["geojson"])

    def _found(self, found: Any) -> Objects:
        self._measured = common_names([one.measurements for one in found])
        return objects_of_found(found, self._names, self._measured, self._half)

    def _features(self, answer: Any, measured: tuple[str, ...] | None = None) -> Objects:
        if measured is None:
            self._measured = common_names(map(measurements_of, features_of(answer)))
        names = measured or self._measured
        return objects_of_features(answer, self._card, self._names, names, self._half)

    def _own_file(self, file: Path, place: str) -> Path:
        """Return the file, which must lie in the scan's folder."""
        path = (self._context.folder / file).resolve()
        if not path.is_relative_to(self._context.folder.resolve()):
            raise AnswerError(place, f"{file.name} does not lie in context.folder")
        if not path.is_file():
            raise AnswerError(place, f"there is no file {file.name} in context.folder")
        return path
