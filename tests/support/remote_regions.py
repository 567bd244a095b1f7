"""Regions fetched from a server of slides, and slides of noise to fetch them from."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import tifffile

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Rectangle, Roi
from broker.orders.source import UrlSource
from broker.settings.config import SlidesSettings, WorkerSettings
from tests.support.range_server import Bend, RangedFile
from tests.support.slide_server import Listener, SlideServer
from tests.support.slides import a_picture, a_slide
from worker.algorithms.builtin.cards import ki67_card
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.slides.slide import Slide
from worker.sources.fetch import SlideFetcher, fetch_remote
from worker.sources.request import FetchRequest
from worker.sources.url import WholeFile

ROI = Rectangle(x=700, y=500, width=300, height=200)
CARD = ki67_card().model_copy(update={"tile_px": 128, "halo_px": 16})
LIMIT_BYTES = 10**8
SECRET = "X-Amz-Signature=5ecre7"
APERIO: Mapping[str, Any] = {
    "aperio": {},
    "one level": {"levels": (1,)},
    "without mpp": {"mpp": None},
}
GENERIC: Mapping[str, Any] = {
    "generic": {},
    "big": {"bigtiff": True},
    "motorola": {"byteorder": ">"},
    "sub-IFDs": {},
}
Slides = Mapping[str, Path]


class InProcessSandbox(Sandbox):
    """Opens slides in this process: to start one for each would be most of the time that these
    tests take.
    """

    @contextmanager
    def open(self, path: Path, mpp: float | None = None, whose: Any = "order") -> Iterator[Any]:
        with Slide.open(path, mpp, whose) as slide:
            yield slide


@dataclass
class RegionFetcher:
    """A slide cache, and a server with a slide on it.

    `pins` keep what was fetched until the end of the test.
    """

    origin: SlideServer
    slide_cache: SlideCache
    pins: ExitStack
    sandbox: Sandbox
    served: RangedFile = field(default_factory=lambda: RangedFile(b""))
    roi: Roi | None = ROI
    card: AlgorithmCard | None = CARD

    @classmethod
    @contextmanager
    def open(cls, folder: Path, sandbox: Sandbox | None = None) -> Iterator["RegionFetcher"]:
        with SlideServer() as origin, ExitStack() as pins:
            yield cls(
                origin, SlideCache(folder, 10**9), pins, sandbox or InProcessSandbox(threads=1)
            )

    def serve(self, content: bytes, bend: Bend | None = None, path: str = "/slide.svs") -> str:
        self.served = RangedFile(content, **({"bend": bend} if bend else {}))
        self.origin.answers[path] = self.served
        return self.origin.url(f"{path}?{SECRET}")

    def fetch(self, url: str) -> LocalSlide | None:
        """The region of the slide; None where the whole must be fetched."""
        source = UrlSource.model_validate({"type": "url", "url": url})
        request = FetchRequest(source, self.roi, None, self.card)
        settings = WorkerSettings(slides=SlidesSettings(max_slide_bytes=LIMIT_BYTES))
        fetcher = SlideFetcher(self.slide_cache, self._session(), self.sandbox, settings)
        return fetcher.fetch_region(url, request, Listener(), self.pins)

    def fetch_whole(self, url: str) -> LocalSlide:
        """The whole file."""
        progress = Listener()
        remote = WholeFile(self._session(), url, None, LIMIT_BYTES, progress)
        return fetch_remote(remote, self.slide_cache, progress, self.pins)

    def _session(self) -> requests.Session:
        return self.pins.enter_context(
            session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2)
        )


def noise_slide(folder: Path, name: str) -> Path:
    """A slide whose lossless tiles do not compress, of 9 MB and more; every pixel is 0.5 microns
    wide.
    """
    pixels, path = a_picture(2000, 1700), folder / f"{name}.tif"
    if name in APERIO:
        return a_slide(path, pixels, **APERIO[name])
    layout = {
        "tile": (128, 128),
        "photometric": "rgb",
        "resolution": (20_000, 20_000),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path, **GENERIC[name]) as tiff:
        for level, step in enumerate((1, 2, 8)):
            kind = {"subfiletype": 1} if level else {"subifds": 2} if name == "sub-IFDs" else {}
            tiff.write(pixels[::step, ::step], compression="zlib", metadata=None, **layout, **kind)
    return path
