"""The settings of `/kue`, where viewers of caMicroscope 2.x and other clients of Kue order."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, SecretStr

from broker.orders.fields import COARSEST_MPP, FINEST_MPP, Priority
from broker.settings.destinations import ADDRESS_FIELDS, checked, revealed
from broker.settings.section import Section

NONE = "none"
_LONGEST_TYPE = 64


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise ValueError("is an IP address or a network, such as 10.1.0.0/16") from None
    return text


def _redis_url(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://", "sentinel://")):
        raise ValueError("begins with redis://, rediss:// or sentinel://")
    return url


def _destination(given: str | dict[str, SecretStr]) -> str | dict[str, SecretStr]:
    """Return a destination that is a name, has one, is none, or is whole. Raise `ValueError`."""
    if isinstance(given, str) or "name" in given or revealed(given) == {"type": NONE}:
        return given
    return checked(given)


class KueType(Section):
    """What is ordered for jobs of one type."""

    algorithm: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")
    parameters: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)
    destination: Annotated[str | dict[str, SecretStr], AfterValidator(_destination)] = Field(
        NONE, description="a name, or a destination as in an order; the job gives the case"
    )
    mpp: float | None = Field(
        None,
        gt=FINEST_MPP,
        lt=COARSEST_MPP,
        description="used where neither the job nor the slide says",
    )

    @property
    def destination_name(self) -> str | None:
        """The name of a destination in `services.destinations`, or None."""
        if isinstance(self.destination, str):
            if self.destination == NONE:
                return None
            return self.destination
        name = self.destination.get("name")
        if name is None:
            return None
        return name.get_secret_value()

    @property
    def destination_fields(self) -> dict[str, Any]:
        """The fields of the destination that stand here, in clear."""
        if isinstance(self.destination, str):
            if self.destination == NONE:
                return {"type": NONE}
            return {"name": self.destination}
        return revealed(self.destination)

    def faults(self, named: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the destination, given those that have a name."""
        name = self.destination_name
        if name is None or name in named:
            return []
        return [f"there is no destination {name[:64]!r} in services.destinations"]

    @property
    def addresses(self) -> list[str]:
        """The addresses that stand here, in clear."""
        fields = self.destination_fields
        return [fields[name] for name in ADDRESS_FIELDS if name in fields]


def _named(types: dict[str, KueType]) -> dict[str, KueType]:
    for name in types:
        if not 0 < len(name) <= _LONGEST_TYPE:
            raise ValueError(f"a type has 1 to {_LONGEST_TYPE} characters")
    return types


class KueSettings(Section):
    """What clients of Kue may order. Without types nothing is answered."""

    types: Annotated[dict[str, KueType], AfterValidator(_named)] = Field(
        default_factory=dict, description="type of a job -> what is ordered"
    )
    publish_events: bool = Field(
        False, description="whether couriers publish `q:events` and write the hashes `q:job:…`"
    )
    events_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None, repr=False, description="the Redis of the listeners; None = `broker.redis_url`"
    )
    networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        (), description="addresses of callers that are answered; none = only this machine"
    )
    max_priority: Priority = Field("high", description="the highest that a job gets")
    max_waiting: int | None = Field(
        1000, ge=0, description="jobs that may be queued; one more is failed"
    )
