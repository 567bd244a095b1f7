"""A destination that an order names; its address and credentials are in the settings."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from broker.orders.fields import RequestModel

GivenName = Annotated[
    str,
    Field(min_length=1, max_length=64, description="one of `services.destinations`"),
]
"""A name as an order gives it; whether there is such a destination, the settings say."""


class NamedDestination(RequestModel):
    """One of `services.destinations`, and the fields that it lacks there, such as `case_id`."""

    model_config = ConfigDict(extra="allow")

    name: GivenName

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that the order adds, unchecked."""
        return dict(self.model_extra or {})

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        """Yield the name alone: what the order adds may be a token."""
        yield "name", self.name
