"""The request of an order as it comes over HTTP, with every field checked.

It is serialized in two ways: as it may be shown (without tokens, URL queries replaced by `…`), and
whole, with `context=REVEAL`, for the store alone.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    model_validator,
)

from broker.orders.destinations import (
    END_EVENTS,
    AddressedDestination,
    AnnotationDestination,
    CaMicroscopeDestination,
    EndEvent,
    WebhookDestination,
)
from broker.orders.fields import (
    COARSEST_MPP,
    FINEST_MPP,
    REVEAL,
    Host,
    HttpUrl,
    Priority,
    RequestModel,
    Secret,
    one_of,
)
from broker.orders.named_destination import GivenName, NamedDestination
from broker.orders.roi import Roi, RoiLimits
from broker.orders.source import Source
from broker.orders.techcyte_options import (
    CaseResults,
    Features,
    FeaturesIn,
    QcFailReasons,
    Triage,
)

LABELS = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")],
        Annotated[str, Field(max_length=256)],
    ],
    Field(max_length=16),
]


MAX_DELAY_S = 30 * 86400


def _without_empty(value: Any) -> Any:
    """Return JSON values without fields that are null, at any depth."""
    if isinstance(value, dict):
        return {name: _without_empty(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_empty(inner) for inner in value]
    return value


class ScanRequest(RequestModel):
    """One slide, or one region of it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    source: Source
    roi: Annotated[Roi | None, Field(description="absent = the whole slide")] = None
    mpp: Annotated[
        float | None,
        Field(gt=FINEST_MPP, lt=COARSEST_MPP, description="used only where the slide does not say"),
    ] = None
    stain: Annotated[str | None, Field(max_length=64)] = None


class TechcyteDestination(AddressedDestination):
    """Techcyte's external results API, with the task's token or an API key."""

    model_config = ConfigDict(json_schema_extra={"oneOf": one_of("host", "base_url")})

    type: Literal["techcyte"]
    host: Host | None = None
    base_url: HttpUrl | None = None
    task_id: Annotated[str, Field(min_length=1, max_length=256)]
    jwt_token: Secret | None = None
    api_key_id: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    api_key_secret: Secret | None = None
    features: Annotated[
        Features | None,
        Field(description="absent = as `worker.deliver.techcyte.features` says"),
    ] = None
    features_in: Annotated[
        FeaturesIn | None,
        Field(description="absent = as `worker.deliver.techcyte.features_in` says"),
    ] = None
    qc_fail_reasons: Annotated[
        QcFailReasons | None,
        Field(description="absent = as `worker.deliver.techcyte.qc_fail_reasons` says"),
    ] = None
    case_results: Annotated[
        CaseResults | None,
        Field(description="`caseResults`: true = the answer for the whole case, or any object"),
    ] = None
    triage: Annotated[
        Triage | None, Field(description="what the case is set to after the results")
    ] = None
    debug_file_upload_url: Annotated[
        HttpUrl | None, Field(description="where a zip with log, results and overlays is put")
    ] = None

    @model_validator(mode="after")
    def _one_address_and_one_credential(self) -> Self:
        if (self.host is None) == (self.base_url is None):
            raise ValueError("give either host or base_url")
        if self.jwt_token is None and (self.api_key_id is None or self.api_key_secret is None):
            raise ValueError("give jwt_token, or api_key_id and api_key_secret")
        return self


class NoDestination(RequestModel):
    """Keep the results for pick-up."""

    type: Literal["none"] = "none"


Destination = Annotated[
    TechcyteDestination
    | AnnotationDestination
    | CaMicroscopeDestination
    | WebhookDestination
    | NoDestination,
    Field(discriminator="type"),
]


def _form(value: Any) -> str:
    """Return how a destination is given: `name`, `named` with fields, or `whole`."""
    if isinstance(value, str):
        return "name"
    if isinstance(value, NamedDestination) or (isinstance(value, dict) and "name" in value):
        return "named"
    return "whole"


GivenDestination = Annotated[
    Annotated[Destination, Tag("whole")]
    | Annotated[NamedDestination, Tag("named")]
    | Annotated[GivenName, Tag("name")],
    Discriminator(_form),
]
"""A destination as an order gives it: whole, or by its name in `services.destinations`."""

GivenWebhook = Annotated[
    Annotated[WebhookDestination, Tag("whole")]
    | Annotated[NamedDestination, Tag("named")]
    | Annotated[GivenName, Tag("name")],
    Discriminator(_form),
]
"""A webhook as an order gives it: whole, or by its name in `services.destinations`."""


def resolved(destination: GivenDestination) -> Destination:
    """Return a destination that is given whole. Raise `ValueError` for one that is only named."""
    if not isinstance(destination, str | NamedDestination):
        return destination
    raise ValueError("the destination is named, and was not looked up in the settings")


class DeliverAgainRequest(RequestModel):
    """Where the results of an order that has ended go now, in place of its old destination."""

    destination: GivenDestination


def shown_destination(destination: Destination) -> dict[str, Any]:
    """Return the destination as everybody who may read the order sees it."""
    shown: dict[str, Any] = _without_empty(destination.model_dump(mode="json"))
    if isinstance(destination, AddressedDestination) and destination.name:
        shown["name"] = destination.name
    return shown


def whole_destination(destination: Destination) -> str:
    """Return the destination as JSON with its secrets, for the store alone."""
    return destination.model_dump_json(context=REVEAL, exclude_none=True)


class OrderRequest(RequestModel):
    """One order: 1 to 64 scans, one algorithm, one delivery."""

    algorithm: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    parameters: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)
    scans: Annotated[tuple[ScanRequest, ...], Field(min_length=1, max_length=64)]
    destination: GivenDestination = NoDestination()
    notify: Annotated[
        GivenWebhook | None,
        Field(description="a webhook that is told how the order ends, whatever its destination"),
    ] = None
    priority: Priority = "normal"
    expires_at: AwareDatetime | None = None
    delay_s: Annotated[
        float | None, Field(ge=0, le=MAX_DELAY_S, description="not begun before so long from now")
    ] = None
    attempts: Annotated[
        int | None, Field(ge=1, le=20, description="most attempts of each stage of a scan")
    ] = None
    on_scan_failure: Annotated[
        Literal["fail", "deliver_rest"],
        Field(description="what becomes of the order where some scans fail and others do not"),
    ] = "fail"
    labels: LABELS = Field(default_factory=dict)
    roi_limits: Annotated[
        RoiLimits | None,
        Field(description="what each region must keep; a template sets it"),
    ] = None

    @model_validator(mode="after")
    def _scan_ids_differ(self) -> Self:
        ids = [scan.id for scan in self.scans]
        twice = {scan_id for scan_id in ids if ids.count(scan_id) > 1}
        if twice:
            raise ValueError(
                f"scan ids must differ within an order; given twice: {', '.join(sorted(twice))}"
            )
        return self

    @property
    def resolved_destination(self) -> Destination:
        """Return the destination. Raise `ValueError` while it is only named."""
        return resolved(self.destination)

    @property
    def notified(self) -> tuple[WebhookDestination, tuple[EndEvent, ...]] | None:
        """Return the webhook that is told how the order ends, and of which ends; None = nobody.

        A webhook that is the destination gets the results as `order.delivered` anyway.
        """
        if isinstance(self.notify, WebhookDestination):
            return self.notify, self.notify.events or END_EVENTS
        destination = self.destination
        if not isinstance(destination, WebhookDestination) or not destination.events:
            return None
        events = tuple(one for one in destination.events if one != "order.delivered")
        return destination, events

    def shown(self) -> dict[str, Any]:
        """Return the request as everybody who may read the order sees it."""
        shown: dict[str, Any] = _without_empty(self.model_dump(mode="json"))
        return shown

    def whole(self) -> str:
        """Return the request as JSON with its secrets, for the store alone."""
        return self.model_dump_json(context=REVEAL, exclude_none=True)

    def whole_without_destination(self) -> str:
        """Return the request as JSON with its secrets, without where the results go."""
        return self.model_dump_json(context=REVEAL, exclude_none=True, exclude={"destination"})


def expiry_ms(when: datetime | None) -> int | None:
    """Return `expires_at` in milliseconds since 1970, or None without one."""
    if when is None:
        return None
    return int(when.timestamp() * 1000)
