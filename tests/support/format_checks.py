"""Slides fetched as for an order, and read by a decoder process."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from tests.support.range_server import RangedFile
from tests.support.slide_server import Listener, SlideServer
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Area, Frame, Pixels
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher

_CARD: Final = ki67_card().model_copy(update={"tile_px": 128, "halo_px": 16})
_MPP: Final = 0.5
_VERSION: Final = re.compile(r"(?<=[a-z]) \d+\.[\d.]+")


@dataclass(frozen=True)
class FetchedSlide:
    """A fetched slide: its local copy, and the reader, frame and pixels of a box."""

    copy: LocalSlide
    reader: str
    frame: Frame
    box: Area
    pixels: Pixels

    def shows(self, box: Area) -> bool:
        """Return whether the box lies within the one that was read."""
        right, bottom = box.x + box.width, box.y + box.height
        is_begun = self.box.x <= box.x and self.box.y <= box.y
        return (
            is_begun
            and right <= self.box.x + self.box.width
            and bottom <= self.box.y + self.box.height
        )

    def part(self, box: Area) -> "FetchedSlide":
        """Return the same for a box within."""
        left, top = box.x - self.box.x, box.y - self.box.y
        return replace(
            self, box=box, pixels=self.pixels[top : top + box.height, left : left + box.width]
        )


@dataclass
class SlideLab:
    """A slide cache, a server, and what it takes to fetch slides from the one to the other."""

    folder: Path
    origin: SlideServer
    sandbox: Sandbox
    fetcher: SlideFetcher
    _fetched: dict[Path, FetchedSlide] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, sandbox: Sandbox) -> Iterator["SlideLab"]:
        """Yield one with its slide cache in `folder`; paths below `folder` may be ordered."""
        settings = WorkerSettings(slides=SlidesSettings(roots=(folder,), max_slide_bytes=10**8))
        with (
            session(("127.0.0.1",), connect_timeout_s=5, read_timeout_s=5) as http,
            SlideServer() as origin,
        ):
            yield cls(
                folder,
                origin,
                sandbox,
                SlideFetcher(SlideCache(folder / "shelf", 10**9), http, sandbox, settings),
            )

    def fetch(self, source: dict[str, Any], box: Area, roi: dict[str, Any] | None) -> FetchedSlide:
        """Fetch a slide as for an order, and read a box of it. Raises `SlidelaneError`."""
        request = ScanRequest.model_validate_json(
            json.dumps({"id": "1", "source": source, "mpp": _MPP, "roi": roi})
        )
        with self.fetcher.fetch(request, _CARD, Listener()) as copy:
            before = self._fetched.get(copy.path)  # the same file, for another column
            if not before or not before.shows(box):
                self._fetched[copy.path] = before = self._read(copy, box)
            return before.part(box)

    def _read(self, copy: LocalSlide, box: Area) -> FetchedSlide:
        with self.sandbox.open(copy.path, _MPP) as slide:
            pixels = slide.overview(box, max(box.width, box.height))
            return FetchedSlide(copy, _VERSION.sub("", slide.reader), slide.frame, box, pixels)

    def serve(self, path: Path, way: str, content: bytes | None = None) -> tuple[str, RangedFile]:
        """Return the URL of the file, another one for every kind of source, and its server."""
        url_path = f"/{path.parent.name}/{way}/{path.name}".replace(" ", "-")
        self.origin.answers[url_path] = served = RangedFile(
            path.read_bytes() if content is None else content
        )
        return self.origin.url(url_path), served
