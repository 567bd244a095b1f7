"""A region of a slide on an image server, fetched as images of its full resolution.

No pixel is decoded here.
"""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi
from broker.orders.source import ImageServerSource
from worker.geometry.frame import Area
from worker.slide_cache.cache import SlideCache
from worker.sources.image_server.assemble import assemble
from worker.sources.image_server.client import ImageRequest, ImageServerClient
from worker.sources.image_server.deepzoom import DeepZoomImage
from worker.sources.image_server.iiif import IiifImage
from worker.sources.image_server.iip import IipImage
from worker.sources.image_server.image_info import Image
from worker.sources.image_server.tile_plan import required_area
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.url import source_key

_MAX_DESCRIPTION_BYTES: Final = 2**16
_FRESH_S: Final = 600.0
_IMAGE_CLASSES: Final[Mapping[str, type[IiifImage] | type[IipImage] | type[DeepZoomImage]]] = (
    MappingProxyType({"iiif": IiifImage, "iip": IipImage, "deepzoom": DeepZoomImage})
)


@dataclass(frozen=True, slots=True)
class ImageRegion:
    """The `area` of an image on a server, in level-0 pixels.

    `fingerprint`: the SHA-256 of the image's description. Servers hardly give ETags for regions, so
    that one that was downloaded in the last ten minutes counts as unchanged while the description
    is the same.
    """

    client: ImageServerClient
    url: str = field(repr=False)
    image: Image
    area: Area
    fingerprint: str
    limit_bytes: int
    fresh_s: float = _FRESH_S

    @property
    def cache_key(self) -> str:
        """The URL without its signature, the protocol and the area, hashed."""
        return sha256_hex(f"{source_key(self.url)} {self.image.server} {self.area.as_dict()}")

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download the region; there is no ETag."""
        del known_etag
        slide = assemble(self.image, self.area, self.client, cache, pins, self.limit_bytes)
        return Downloaded(slide, "")


def find_region(
    client: ImageServerClient,
    source: ImageServerSource,
    roi: Roi | None,
    mpp: float | None,
    card: AlgorithmCard | None,
    limit_bytes: int,
) -> ImageRegion:
    """Request an image's description and return what reading the region `roi` takes of it.

    `card`: of the algorithm that will read it. The description is requested for every order: only
    the server knows whether this URL may still read the image. Raise `OrderError`,
    `TemporaryError` and `StopWork`.
    """
    url = source.url.get_secret_value()
    image_class = _IMAGE_CLASSES[source.protocol]
    request = ImageRequest(image_class.description_url(url), _MAX_DESCRIPTION_BYTES)
    description = client.result(client.begin(request))
    image = image_class.from_description(url, description)
    return ImageRegion(
        client=client,
        url=url,
        image=image,
        area=required_area(image, roi, mpp, card),
        fingerprint=hashlib.sha256(description).hexdigest(),
        limit_bytes=limit_bytes,
    )
