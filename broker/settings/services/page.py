"""The settings of the page: what it may show of a slide, and which sites may embed it."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from broker.settings.section import Section

_ORIGIN: Final = re.compile(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(:[0-9]{1,5})?")


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError(
            "is the origin of a site, such as https://pacs.hospital.example: "
            "scheme, host in small letters and perhaps a port, without a path"
        )
    return text


class PageSettings(Section):
    """The page for people in a browser, at `/`."""

    labels: bool = Field(
        False, description="whether images of the slide's label are shown; labels name patients"
    )
    frame_ancestors: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), max_length=32, description="origins of the sites that may embed the page"
    )
    flower: str | None = Field(
        None,
        pattern=r"^https?://[^\s'\"<>@?#]{1,500}$",
        description="address of Flower, for a link",
    )
