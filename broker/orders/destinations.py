"""The destinations of an order that have an address, but for Techcyte."""

import base64
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from broker.orders.fields import CaseId, HttpUrl, RequestModel, Secret, ViewerText

EndEvent = Literal[
    "order.delivered",
    "order.undelivered",
    "order.failed",
    "order.cancelled",
    "order.expired",
]
"""What a webhook can be told of an order: `order.` and the state in which it ended."""
END_EVENTS: Final[tuple[EndEvent, ...]] = get_args(EndEvent)

SHORTEST_WEBHOOK_SECRET = 24
LONGEST_WEBHOOK_SECRET = 64


class AddressedDestination(RequestModel):
    """What destinations with an address have in common."""

    name: Annotated[
        SkipJsonSchema[str],
        Field(
            exclude=True,
            description="of `services.destinations`, where it is from there; never given with it",
        ),
    ] = ""


JOB_ID = "{id}"
"""What stands in `confirm_url` for the id of the loader's job."""
MASK_PATH = "/submitMaskOrder"
"""Where a loader takes one mask in place of a zip."""


class AnnotationDestination(AddressedDestination):
    """A loader as that of DynamicServices, to which a QuIP zip is posted as multipart.

    If the path of `url` ends with `/submitMaskOrder`, one mask is posted. With `confirm_url` the
    order is delivered only once the importer's job is `complete`.
    """

    type: Literal["annotation"]
    url: HttpUrl
    case_id: CaseId
    subject_id: Annotated[CaseId | None, Field(description="absent: the case")] = None
    execution_id: Annotated[
        ViewerText | None,
        Field(description="name of the layer; absent: made of algorithm, version and parameters"),
    ] = None
    confirm_url: Annotated[
        HttpUrl | None, Field(description="address of the importer's job, with {id} for its id")
    ] = None

    @property
    def takes_a_mask(self) -> bool:
        """Whether the loader is posted one mask in place of a zip."""
        return urlsplit(self.url.get_secret_value()).path.endswith(MASK_PATH)

    @field_validator("confirm_url")
    @classmethod
    def _names_the_job(cls, address: SecretStr | None) -> SecretStr | None:
        if address is None:
            return None
        parts = urlsplit(address.get_secret_value())
        if JOB_ID not in f"{parts.path}?{parts.query}" or JOB_ID in parts.netloc:
            raise PydanticCustomError("job_id_missing", "its path or query must hold {id}")
        return address


def _truth_of_text(value: Any) -> Any:
    """Return the truth value of the text `true` or `false`: settings hold texts."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value)
    return value


class CaMicroscopeDestination(AddressedDestination):
    """A slide of a caMicroscope 3, where marks or a heat map are stored by its data API.

    `url` is the root of the site, before `/data/`. The token must be allowed to write; a site
    without security needs none.
    """

    type: Literal["camicroscope"]
    url: HttpUrl
    slide: ViewerText
    token: Secret | None = None
    execution_id: Annotated[
        ViewerText | None, Field(description="name of the layer; absent: made of the order's id")
    ] = None
    replace: Annotated[
        bool,
        BeforeValidator(_truth_of_text),
        Field(description="delete what earlier orders stored for slide and execution_id, first"),
    ] = False

    @field_validator("url")
    @classmethod
    def _is_a_root(cls, root: SecretStr) -> SecretStr:
        parts = urlsplit(root.get_secret_value())
        if parts.query or parts.fragment:
            raise PydanticCustomError("not_a_root", "a site root has neither query nor fragment")
        return root


def _webhook_secrets(secret: SecretStr) -> SecretStr:
    for one in secret.get_secret_value().split():
        decoded = _decoded_webhook_secret(one)
        if not SHORTEST_WEBHOOK_SECRET <= len(decoded) <= LONGEST_WEBHOOK_SECRET:
            raise ValueError("a secret of a webhook has 24 to 64 bytes")
    return secret


def _events_of_text(value: Any) -> Any:
    """Return the events of a text with blanks between them: settings hold texts."""
    if isinstance(value, str):
        return tuple(value.split())
    if isinstance(value, list):
        return tuple(value)
    return value


def _decoded_webhook_secret(secret: str) -> bytes:
    """Return the bytes of a secret as Standard Webhooks writes it. Raise `ValueError`."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise ValueError("a secret of a webhook is whsec_ and base64") from None


class WebhookDestination(AddressedDestination):
    """An address that is called, signed as Standard Webhooks 1.0 says.

    As `destination` it is called when the results are there, and for the other `events` that it
    names. As `notify` it is called for its `events`, or for every end without them.

    `secret` is `whsec_` and base64 of 24 to 64 random bytes; while a receiver changes its secret,
    both, with a blank between them.
    """

    type: Literal["webhook"]
    url: HttpUrl
    secret: Annotated[Secret, AfterValidator(_webhook_secrets)]
    events: Annotated[
        tuple[EndEvent, ...] | None,
        BeforeValidator(_events_of_text),
        Field(min_length=1, description="ends of the order that it is told of"),
    ] = None

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The keys that every message is signed with."""
        return tuple(map(_decoded_webhook_secret, self.secret.get_secret_value().split()))
