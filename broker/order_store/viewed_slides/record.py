"""One slide that somebody looks at, as it is stored, and how its fields are written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from broker.errors import Problem
from broker.order_store.encryption import RequestEncryption
from broker.orders.fields import REVEAL, Priority
from broker.orders.order import Progress
from broker.orders.source import Source

MOST_FETCHING: Final = 8
"""Slides of one caller that may be fetched at a time, where nothing else is said for it."""
SlideState = Literal["fetching", "fetched", "ready", "failed"]
"""Of a slide: it is brought to this machine, it is there, the viewer opened it, it cannot be seen.

`fetched` lasts until somebody asks for the slide, for only the API speaks with the viewer.
"""
_SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


@dataclass(frozen=True, slots=True)
class ViewedSlide:
    """A slide that somebody looks at.

    `name`: what people call it, perhaps empty. `place`: where the viewer opens it, empty while it
    is fetched; of one in the slide cache also digest, bytes and perhaps `mpp`, as the record of a
    scan holds them. `facts`: what the viewer answered about it. `problem`: why it cannot be seen,
    as `Problem.as_dict` returns it.
    """

    id: str
    state: SlideState
    created_by: str
    source: Source = field(repr=False)
    name: str = field(default="", repr=False)
    place: Mapping[str, Any] = field(default_factory=dict, repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    problem: Mapping[str, Any] | None = None

    @property
    def path(self) -> str:
        """Return where the viewer opens it; empty while it is fetched."""
        return str(self.place.get("path", ""))

    @property
    def digest(self) -> str:
        """Return which slide it was when it was opened or fetched; empty before that."""
        return str(self.facts.get("digest") or self.place.get("digest", ""))

    @property
    def mpp(self) -> float | None:
        """Return the microns per pixel that the case locator states."""
        mpp: float | None = self.place.get("mpp")
        return mpp


@dataclass(frozen=True, slots=True)
class NewSlide:
    """A slide to store: with `path` and `facts` where the viewer opened it, else to be fetched.

    `most_fetching`: slides of its caller that may be fetched or wait for it at a time.
    """

    created_by: str
    source: Source = field(repr=False)
    name: str = field(default="", repr=False)
    path: str = field(default="", repr=False)
    facts: Mapping[str, Any] | None = None
    priority: Priority = "normal"
    most_fetching: int = MOST_FETCHING

    def fields(self, encryption: RequestEncryption) -> dict[str, str]:
        """Return the fields of its record. Source, name and path are encrypted as orders are."""
        given = {"source": _SOURCE.dump_python(self.source, mode="json", context=REVEAL)}
        given |= {"name": self.name}
        fields = {
            "state": "fetching",
            "created_by": self.created_by,
            "request": encryption.encrypt(json.dumps(given)),
        }
        if self.facts is not None:
            fields |= {"state": "ready"} | opened_fields(self.facts)
            fields |= place_fields(encryption, {"path": self.path})
        return fields


def place_fields(encryption: RequestEncryption, place: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that say where the slide is on the viewer's disk."""
    return {"place": encryption.encrypt(json.dumps(dict(place)))}


def opened_fields(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that hold what the viewer answered about the slide."""
    return {"facts": json.dumps(dict(facts))}


def problem_fields(problem: Problem) -> dict[str, str]:
    """Return the fields that say why the slide cannot be seen."""
    return {"problem": json.dumps(problem.as_dict())}


def slide_from(
    slide_id: str, stored: Mapping[str, str], encryption: RequestEncryption
) -> ViewedSlide:
    """Return the slide of a stored record.

    Raise `SealedError`, and `ValueError` or `KeyError` for a record that is damaged.
    """
    given = json.loads(encryption.decrypt(stored["request"]))
    place: dict[str, Any] = {}
    if stored.get("place"):
        place = json.loads(encryption.decrypt(stored["place"]))
    problem = None
    if stored.get("problem"):
        problem = json.loads(stored["problem"])
    return ViewedSlide(
        id=slide_id,
        state=_STATE.validate_python(stored["state"]),
        created_by=stored["created_by"],
        source=_SOURCE.validate_json(json.dumps(given["source"])),
        name=given["name"],
        place=place,
        facts=json.loads(stored.get("facts") or "{}"),
        progress=Progress.model_validate_json(stored.get("progress") or "{}"),
        problem=problem,
    )


_STATE: TypeAdapter[SlideState] = TypeAdapter(SlideState)
