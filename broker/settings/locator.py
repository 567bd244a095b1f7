"""The settings of the locator, which finds the slide of a case: a table, or a lookup over HTTP.

Fills the templates of URLs and sources. Sends no request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, JsonValue, SecretStr, TypeAdapter, model_validator

from broker.orders.fields import CaseId, HttpUrl
from broker.orders.source import ImageServerSource, Located, PathSource, UrlSource
from broker.settings.section import Section

_PLACEHOLDER = re.compile(r"\{(case_id|location)\}")
_HEADER = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_LOCATED: TypeAdapter[UrlSource | ImageServerSource | PathSource] = TypeAdapter(Located)
Pointer = Annotated[str, Field(pattern=r"^(/([^/~]|~[01])*)*$")]
"""A JSON pointer (RFC 6901)."""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


class MapLocator(Section):
    """A table with the source of each case."""

    type: Literal["map"]
    cases: dict[CaseId, Located] = Field(
        description="case id -> a source of type `url`, `image_server` or `path`"
    )

    @property
    def sources(self) -> Iterator[tuple[str, Located]]:
        """Every source of the table, with its key before it."""
        return ((f"cases.{case_id}", source) for case_id, source in self.cases.items())


class HttpLocator(Section):
    """A service that answers GET with JSON: Bindaas, caMicroscope's `Slide/find`, or one alike."""

    type: Literal["http"]
    url: HttpUrl = Field(description="URL of the lookup; `{case_id}` stands for the case")
    headers: dict[HeaderName, SecretStr] = Field(
        default_factory=dict, description="headers of the request, say Authorization"
    )
    query: dict[str, SecretStr] = Field(
        default_factory=dict, description="added to the URL's query, say api_key"
    )
    location: Pointer = Field(description="JSON pointer to the location in the answer")
    mpp: Pointer | None = Field(
        None, description="JSON pointer to the microns per pixel in the answer"
    )
    source: dict[str, JsonValue] = Field(
        repr=False,
        description="a source in which `{location}` stands for the location in the answer",
    )

    @model_validator(mode="after")
    def _can_be_requested(self) -> Self:
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
        """A location for trying the template out: a URL where a field is nothing else."""
        if "{location}" in self.source.values():
            return "https://slides.example/a"
        return "/a"

    @property
    def sources(self) -> Iterator[tuple[str, Located]]:
        """The source with a sample location, with its key before it."""
        yield "source", self.located("case", self._sample)

    def request_url(self, case_id: str) -> str:
        """Return the URL of the lookup of a case, without `query`.

        Raise `ValueError` for an id that would change the path.
        """
        return _filled_url(self.url.get_secret_value(), {"case_id": case_id})

    def located(self, case_id: str, location: str) -> Located:
        """Return the source for a location that the service answered.

        Raise `ValueError` where it does not fit into the template.
        """
        values = {"case_id": case_id, "location": location}
        source = {name: _filled(name, template, values) for name, template in self.source.items()}
        return _LOCATED.validate_python(source)


Locator = Annotated[MapLocator | HttpLocator, Field(discriminator="type")]


def _filled(name: str, template: Any, values: Mapping[str, str]) -> Any:
    """Return the value of the field `name` of a source, its placeholders filled."""
    if isinstance(template, list):
        return [_filled(name, item, values) for item in template]
    if not isinstance(template, str):
        return template
    if name == "path":
        return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
    return _filled_url(template, values)


def _filled_url(template: str, values: Mapping[str, str]) -> str:
    """Return the URL with percent-encoded values; a value that is the whole URL stays as it is.

    Raise `ValueError` for a value that would change the host or lead to a parent folder.
    """
    whole = _PLACEHOLDER.fullmatch(template)
    if whole:
        return values[whole[1]]
    for value in values.values():
        if not {".", ".."}.isdisjoint(value.split("/")):
            raise ValueError("a value climbs in the path")
    url = _PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe="/"), template)
    if urlsplit(url).netloc != urlsplit(_PLACEHOLDER.sub("", template)).netloc:
        raise ValueError("a value changes the host")
    return url
