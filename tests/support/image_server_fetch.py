"""Fetching from an image server of our own into a slide cache, and what came."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from broker.errors import SlidelaneError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.request import ScanRequest
from broker.orders.roi import Roi
from broker.orders.source import ImageServerSource
from broker.settings.config import DeliverySettings, SlidesSettings, WorkerSettings
from tests.support.image_server import ImageServer
from tests.support.slide_server import Listener
from worker.geometry.frame import Pixels
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.formats import open_partial
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher

SECRET = "token=5ecre7"
FORMS = {
    "iiif": f"/iiif/slide?{SECRET}",
    "iip": f"/iipsrv.fcgi?FIF=/slide.svs&{SECRET}",
    "deepzoom": f"/slide.dzi?{SECRET}",
}


def region(**roi: Any) -> Roi:
    """What the order would say."""
    asked: Roi = TypeAdapter(Roi).validate_json(json.dumps(roi))
    return asked


@dataclass(frozen=True)
class ImageServerFetcher:
    """One order's way to an image server and back."""

    server: ImageServer
    folder: Path
    protocol: str = "iiif"
    path: str = ""
    roi: Roi | None = None
    mpp: float | None = 0.5
    card: AlgorithmCard | None = None
    limit_bytes: int = 50_000_000
    read_timeout_s: float = 5

    def fetch(
        self,
        look: Callable[[LocalSlide], Any] = lambda copy: copy,
        progress: Listener | None = None,
    ) -> Any:
        """What `look` makes of the slide while it is fetched and open."""
        url = self.server.url(self.path or FORMS[self.protocol])
        source = ImageServerSource.model_validate(
            {"type": "image_server", "url": url, "protocol": self.protocol}
        )
        http = session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=self.read_timeout_s)
        settings = WorkerSettings(
            slides=SlidesSettings(max_slide_bytes=self.limit_bytes),
            deliver=DeliverySettings(connect_timeout_s=2, read_timeout_s=self.read_timeout_s),
        )
        cache = SlideCache(self.folder, 100_000_000)
        fetcher = SlideFetcher(cache, http, Sandbox(threads=1), settings)
        scan = ScanRequest(id="1", source=source, roi=self.roi, mpp=self.mpp)
        with http, fetcher.fetch(scan, self.card, progress or Listener()) as slide:
            return look(slide)

    def pixels(self, x: int, y: int, width: int, height: int) -> Pixels:
        """A box of level 0 as (height, width, 3), read through the manifest."""
        return self.fetch(lambda copy: read(copy, x, y, width, height))  # type: ignore[no-any-return]

    def refusal(self, **changed: Any) -> SlidelaneError:
        """The error that the fetch ends in; it gives no secret away and leaves nothing behind."""
        with pytest.raises(SlidelaneError) as caught:
            replace(self, **changed).fetch()
        error: BaseException | None = caught.value
        told = f"{caught.value.problem}"
        while error:
            told += repr(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        assert "5ecre7" not in told
        assert not [
            path
            for path in self.folder.glob("*/**/*")
            if path.is_file() and path.parent.name != "sources"
        ]
        return caught.value


def read(copy: LocalSlide, x: int, y: int, width: int, height: int) -> Pixels:
    """A box of level 0 as (height, width, 3)."""
    pyramid = open_partial(copy.path)
    picture = pyramid.read_region((x, y), 0, (width, height))
    pyramid.close()
    assert picture.getchannel("A").getextrema() == (255, 255)
    return np.asarray(picture)[..., :3]
