"""The settings of `/kue`, where viewers of caMicroscope 2.x and other clients of Kue order."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from broker.orders.fields import COARSEST_MPP, FINEST_MPP, Priority
from broker.settings.section import Section
from broker.settings.services.policies import OrderChoice

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


class KueType(OrderChoice):
    """What is ordered for jobs of one type. The job adds the case to the destination."""

    mpp: float | None = Field(
        None,
        gt=FINEST_MPP,
        lt=COARSEST_MPP,
        description="used where neither the job nor the slide says",
    )


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
