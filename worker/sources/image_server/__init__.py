"""A slide on an image server: what the order needs of it, fetched as pictures of its full resolution onto the shelf.

Owns the way from a URL to a slide on the shelf. Must not know a protocol's words, each of which has its module, nor
decode any pixel.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker.orders.source import ImageServerSource
from worker.geometry.frame import Area
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import SourceRecord
from worker.sources.image_server import deepzoom, iiif, iip, tile_plan
from worker.sources.image_server.assemble import gather
from worker.sources.image_server.client import ImageRequest, ImageServerClient
from worker.sources.image_server.image_info import Image
from worker.sources.request import FetchRequest
from worker.sources.url import source_key

_DESCRIPTION_BYTES: Final = 2**16
_FRESH_S: Final = 600.0
_SILENCE_S: Final = 10.0  # a `Stop` waits for no more
_Protocol = tuple[
    Callable[[str], str], Callable[[str, bytes], Image]
]  # where the image is described, and the image
_PROTOCOLS: Final[Mapping[str, _Protocol]] = MappingProxyType(
    {
        "iiif": (iiif.about, iiif.image),
        "iip": (iip.about, iip.image),
        "deepzoom": (deepzoom.about, deepzoom.image),
    }
)


def fetch(source: ImageServerSource, errand: FetchRequest) -> LocalSlide:
    """What the errand needs of the slide, on the shelf. Two that want the same region at once fetch it once.

    The server is asked for the image's description each time: only it can say whether this URL may still read the
    image. Regions mostly come without ETags, so one that was fetched in the last ten minutes counts as unchanged while
    the description is.
    """
    url = source.url.get_secret_value()
    about, image_of = _PROTOCOLS[source.protocol]
    allowed = errand.means.settings.deliver
    timeout_s = allowed.connect_timeout_s, min(allowed.read_timeout_s, _SILENCE_S)
    with ImageServerClient(errand.means.http, errand.watch, timeout_s) as dialogue:
        description = dialogue.result(dialogue.begin(ImageRequest(about(url), _DESCRIPTION_BYTES)))
        image = image_of(url, description)
        return _near(_hashed(description), url, image, errand, dialogue)


def _near(
    said: str, url: str, image: Image, errand: FetchRequest, dialogue: ImageServerClient
) -> LocalSlide:
    shelf, within = errand.means.shelf, tile_plan.wanted(image, errand)
    with shelf.source(_key(url, image, within), errand.watch) as source:
        known, copy = source.kept, None
        if known and known.asked == said and time.time() - known.at < _FRESH_S:
            copy = errand.pins.enter_context(shelf.pinned(known.digest))
        if copy is None:
            copy = gather(image, within, errand, dialogue)
            source.keep(SourceRecord(copy.digest, "", said, time.time()))
        return copy


def _key(url: str, image: Image, within: Area) -> str:
    """The name of a region of an image behind a URL."""
    return _hashed(f"{source_key(url)} {image.server} {within.as_dict()}".encode())


def _hashed(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
