"""Who says where the slide of a case is: a table in the settings, or a lookup over HTTP.

Owns their settings, and how a template becomes a URL or a source. Asks nobody.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, JsonValue, SecretStr, TypeAdapter, model_validator

from broker.orders.fields import CaseId, HttpUrl
from broker.orders.source import ImageServerSource, Located, PathSource, UrlSource
from broker.settings.section import Section

_HOLE = re.compile(r"\{(case_id|location)\}")
_HEADER = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_LOCATED: TypeAdapter[UrlSource | ImageServerSource | PathSource] = TypeAdapter(Located)
Pointer = Annotated[str, Field(pattern=r"^(/([^/~]|~[01])*)*$")]
"""A JSON pointer (RFC 6901)."""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


class MapLocator(Section):
    """Where each case is, case by case."""

    type: Literal["map"]
    cases: dict[CaseId, Located] = Field(
        description="case id -> a source of type `url`, `image_server` or `path`"
    )

    @property
    def sources(self) -> Iterator[tuple[str, Located]]:
        """Every source it names, with the key it stands at."""
        return ((f"cases.{case_id}", source) for case_id, source in self.cases.items())


class HttpLocator(Section):
    """A service that is asked with GET and answers JSON: Bindaas, caMicroscope's `Slide/find`, or one alike."""

    type: Literal["http"]
    url: HttpUrl = Field(description="what is asked; `{case_id}` stands for the case")
    headers: dict[HeaderName, SecretStr] = Field(
        default_factory=dict, description="sent along, say Authorization"
    )
    query: dict[str, SecretStr] = Field(
        default_factory=dict, description="added to the URL's query, say api_key"
    )
    location: Pointer = Field(description="JSON pointer to the location in the answer")
    mpp: Pointer | None = Field(
        None, description="JSON pointer to the microns per pixel in the answer"
    )
    source: dict[str, JsonValue] = Field(
        repr=False, description="a source in which `{location}` stands for what was answered"
    )

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        parts = urlsplit(self.url.get_secret_value())
        if "{" in parts.netloc or "{case_id}" not in parts.path + parts.query:
            raise ValueError("worker.locator.url must hold {case_id} in its path or query")
        if not all(_HEADER.fullmatch(value.get_secret_value()) for value in self.headers.values()):
            raise ValueError(
                "worker.locator.headers hold printable ASCII only, and no space at either end"
            )
        return self

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        if "{location}" not in str(self.source):
            raise ValueError("worker.locator.source must hold {location}")
        try:
            self.located("case", self._sample)
        except ValueError:
            raise ValueError(
                "worker.locator.source, filled, must be a source of type url, image_server or path"
            ) from None
        return self

    @property
    def _sample(self) -> str:
        return "https://slides.example/a" if "{location}" in self.source.values() else "/a"

    @property
    def sources(self) -> Iterator[tuple[str, Located]]:
        """The one kind of source it names, with the key it stands at."""
        yield "source", self.located("case", self._sample)

    def asked(self, case_id: str) -> str:
        """The URL to ask for a case, without `query`. Raises `ValueError` for an id that would change its path."""
        return _filled_url(self.url.get_secret_value(), {"case_id": case_id})

    def located(self, case_id: str, location: str) -> Located:
        """The source for a location that was answered. Raises `ValueError` where it does not fit the template."""
        given = {"case_id": case_id, "location": location}
        return _LOCATED.validate_python(
            {name: _filled(name, value, given) for name, value in self.source.items()}
        )


Locator = Annotated[MapLocator | HttpLocator, Field(discriminator="type")]


def _filled(name: str, value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(name, item, given) for item in value]
    if not isinstance(value, str):
        return value
    return (
        _HOLE.sub(lambda hole: given[hole[1]], value)
        if name == "path"
        else _filled_url(value, given)
    )


def _filled_url(template: str, given: Mapping[str, str]) -> str:
    """The URL with percent-encoded values in its holes; a template that is one hole takes a whole URL as it is."""
    if hole := _HOLE.fullmatch(template):
        return given[hole[1]]
    if any(step in (".", "..") for value in given.values() for step in value.split("/")):
        raise ValueError("a value climbs in the path")
    url = _HOLE.sub(lambda hole: quote(given[hole[1]], safe="/"), template)
    if urlsplit(url).netloc != urlsplit(_HOLE.sub("", template)).netloc:
        raise ValueError("a value changes the host")
    return url
