"""The route that lists the named destinations, for whoever chooses one for an order."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from broker.settings.services.destinations import needed_fields
from services.dependencies import Settings, may_read

router = APIRouter(
    prefix="/v1/destinations", tags=["destinations"], dependencies=[Depends(may_read)]
)


class NamedDestinationView(BaseModel):
    """One destination of the settings; its address and credentials are never shown."""

    name: str = Field(description="what an order gives as `destination`")
    type: str
    needs: list[str] = Field(description="fields that every order adds, such as `case_id`")


class DestinationsView(BaseModel):
    """The named destinations, by name."""

    destinations: list[NamedDestinationView]


@router.get("")
def list_destinations(config: Settings) -> DestinationsView:
    """The destinations that an order can name: those of `services.destinations`."""
    views = [
        NamedDestinationView(
            name=name,
            type=given["type"].get_secret_value(),
            needs=list(needed_fields(given)),
        )
        for name, given in sorted(config.services.destinations.items())
    ]
    return DestinationsView(destinations=views)
