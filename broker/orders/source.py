"""Where a slide is: at URLs, on an image server, below a folder, uploaded, or as a locator says."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import ConfigDict, Field, model_validator

from broker.orders.fields import CaseId, HttpUrl, RequestModel, one_of


class _SourceModel(RequestModel):
    """What a source is that names no URL and no file that may be shown."""

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        """Every URL of the source in clear, with the name of its field before it."""
        return ()

    @property
    def file_stem(self) -> str:
        """The name of the file without its suffix, empty where it has none for others to see."""
        return ""


class UrlSource(_SourceModel):
    """A slide at http(s) URLs: one file, the files of a DICOM series, or a zip of either."""

    model_config = ConfigDict(json_schema_extra={"oneOf": one_of("url", "urls", "zip_url")})

    type: Literal["url"]
    url: HttpUrl | None = None
    urls: (
        Annotated[tuple[HttpUrl, ...], Field(min_length=1, max_length=1000, strict=False)] | None
    ) = None
    zip_url: HttpUrl | None = None
    sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$", description="of the file behind `url` or `zip_url`, in hex"
        ),
    ] = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if [self.url, self.urls, self.zip_url].count(None) != 2:
            raise ValueError("give exactly one of url, urls and zip_url")
        if self.urls and self.sha256:
            raise ValueError("sha256 goes with url or zip_url; a series is told by its files")
        return self

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        """Every URL of the source in clear, with the name of its field before it."""
        given = [("url", self.url), ("zip_url", self.zip_url)]
        given += [(f"urls[{n}]", url) for n, url in enumerate(self.urls or ())]
        return tuple((field, url.get_secret_value()) for field, url in given if url)

    @property
    def file_stem(self) -> str:
        """The name of the file without its suffix; empty for several files.

        It is also empty where the URL's path does not end in the name of a file, for then its last
        part may be a secret.
        """
        address = self.url or self.zip_url
        if address is None:
            return ""
        name = PurePosixPath(unquote(urlsplit(address.get_secret_value()).path))
        if not name.suffix:
            return ""
        return name.stem


class ImageServerSource(_SourceModel):
    """A slide on an image server, which serves any region of it as a picture."""

    type: Literal["image_server"]
    url: Annotated[
        HttpUrl,
        Field(description="IIIF: the image's base URI; IIP: with its FIF; DeepZoom: the .dzi"),
    ]
    protocol: Literal["iiif", "iip", "deepzoom"]

    @property
    def addresses(self) -> tuple[tuple[str, str], ...]:
        """The server's URL in clear, with the name of its field before it."""
        return (("url", self.url.get_secret_value()),)


class PathSource(_SourceModel):
    """A slide below one of `worker.slides.roots`."""

    type: Literal["path"]
    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]

    @property
    def file_stem(self) -> str:
        """The name of the file without its suffix."""
        return PurePosixPath(self.path).stem


Located = Annotated[UrlSource | ImageServerSource | PathSource, Field(discriminator="type")]
"""A source that names the place of the slide."""


class CaseSource(_SourceModel):
    """The slide of a case; `worker.locator` says where it is."""

    type: Literal["case"]
    case_id: CaseId
    slide: Annotated[
        CaseId | None,
        Field(description="the file name of the slide that is meant, where the case has several"),
    ] = None


class SlideSource(_SourceModel):
    """A slide that was looked at: what `POST /v1/slides` answered names it.

    The API puts the source that was looked at in its place before the order is stored.
    """

    type: Literal["slide"]
    slide: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class UploadSource(_SourceModel):
    """A slide that the caller has sent in, at `/v1/uploads`."""

    type: Literal["upload"]
    upload: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-f]{32}(-[0-9]{1,6})?$",
            description="`Upload-Set`, or the last part of the `Location`, of its creation",
        ),
    ]


Source = Annotated[
    UrlSource | ImageServerSource | PathSource | CaseSource | SlideSource | UploadSource,
    Field(discriminator="type"),
]
