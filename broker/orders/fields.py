"""The types of the fields of a request. Each checks its values and hides secret ones."""

import re
from typing import Annotated, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
)
from pydantic.functional_validators import AfterValidator

REVEAL = {"reveal": True}
"""The serialization context in which secrets are written in clear, for the store alone."""

Priority = Literal["low", "normal", "high", "urgent"]
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
"""The priorities of an order, the lowest first."""

FINEST_MPP: Final = 0.01
COARSEST_MPP: Final = 100.0
"""Microns per pixel between these two, without them, can be those of a slide."""

MAX_COORDINATE = 2**31 - 1


_PATH_PARAMETERS = re.compile(r";[^/;=]*=[^/]*")
"""Parameters of a path segment (RFC 3986, 3.3), as in `/login;jsessionid=…/slide.svs`."""


def without_query(url: str) -> str:
    """Return the URL as it may be shown: without user and fragment, and `?…` for a query.

    Parameters in the path are shown as `;…`: one of them may be a session, which is as good as a
    password.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path = _PATH_PARAMETERS.sub(";…", parts.path)
    shown = f"{parts.scheme}://{host}{path}"
    if parts.query:
        shown += "?…"
    return shown


def _shown(secret: SecretStr, info: SerializationInfo) -> str | None:
    if info.context == REVEAL:
        return secret.get_secret_value()
    return None


def _url_shown(secret: SecretStr, info: SerializationInfo) -> str:
    url = secret.get_secret_value()
    if info.context == REVEAL:
        return url
    return without_query(url)


def _http_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if not re.fullmatch(r"[\x21-\x7e]+", url):
        raise ValueError("a URL holds printable ASCII only; percent-encode the rest")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("only http and https URLs are fetched")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    _ = parts.port  # raises `ValueError` for an impossible port
    return secret


Secret = Annotated[SecretStr, PlainSerializer(_shown), Field(min_length=1, max_length=16384)]
HttpUrl = Annotated[
    SecretStr,
    AfterValidator(_http_url),
    PlainSerializer(_url_shown),
    Field(max_length=8192, json_schema_extra={"pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[!-~]+$"}),
]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:\d{1,5})?$")]
Coordinate = Annotated[int, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Length = Annotated[int, Field(ge=1, le=MAX_COORDINATE)]
CaseId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f/\\]+$")]

ViewerText = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f<>]+$")]
"""A name that a viewer stores and looks up. caMicroscope removes `<` and `>` from what it gets."""


def one_of(*names: str) -> list[JsonValue]:
    """Return what `oneOf` holds in a JSON schema where exactly one of the fields is given."""
    return [{"required": [name]} for name in names]


class RequestModel(BaseModel):
    """A part of a request: frozen, strict, without unknown fields.

    Its errors never repeat what was given, which may be a secret.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
