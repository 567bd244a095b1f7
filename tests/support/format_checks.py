"""Slides brought near as an order would bring them, each looked at through the process that reads it."""

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
from tests.support.slide_server import Listener, Origin
from worker.algorithms.builtin_cards import ki67_card
from worker.geometry.frame import Area, Frame, Pixels
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import FetchTools, fetch_slide

_CARD: Final = ki67_card().model_copy(update={"tile_px": 128, "halo_px": 16})
_MPP: Final = 0.5
_VERSION: Final = re.compile(r"(?<=[a-z]) \d+\.[\d.]+")


@dataclass(frozen=True)
class Seen:
    """A slide that was brought near: its copy, and what the process that opened it says and shows of a box."""

    copy: LocalSlide
    reader: str
    frame: Frame
    box: Area
    pixels: Pixels

    def shows(self, box: Area) -> bool:
        """Whether the box is within what was looked at."""
        right, bottom = box.x + box.width, box.y + box.height
        is_begun = self.box.x <= box.x and self.box.y <= box.y
        return (
            is_begun
            and right <= self.box.x + self.box.width
            and bottom <= self.box.y + self.box.height
        )

    def part(self, box: Area) -> "Seen":
        """The same of a box within."""
        left, top = box.x - self.box.x, box.y - self.box.y
        return replace(
            self, box=box, pixels=self.pixels[top : top + box.height, left : left + box.width]
        )


@dataclass
class Laboratory:
    """A shelf, an origin, and what it takes to bring slides from the one to the other."""

    folder: Path
    origin: Origin
    means: FetchTools
    _seen: dict[Path, Seen] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, sandbox: Sandbox) -> Iterator["Laboratory"]:
        """Paths may be ordered below `folder`, where the shelf is, too."""
        settings = WorkerSettings(slides=SlidesSettings(roots=(folder,), max_slide_bytes=10**8))
        with (
            session(("127.0.0.1",), connect_timeout_s=5, read_timeout_s=5) as http,
            Origin() as origin,
        ):
            yield cls(
                folder,
                origin,
                FetchTools(SlideCache(folder / "shelf", 10**9), http, sandbox, settings),
            )

    def see(self, source: dict[str, Any], box: Area, roi: dict[str, Any] | None) -> Seen:
        """Bring a slide near as an order would, and look at a box of it. Raises `SlidelaneError`."""
        asked = ScanRequest.model_validate_json(
            json.dumps({"id": "1", "source": source, "mpp": _MPP, "roi": roi})
        )
        with fetch_slide(asked, _CARD, self.means, Listener()) as copy:
            before = self._seen.get(copy.path)  # the same file, for another column
            if not before or not before.shows(box):
                self._seen[copy.path] = before = self._look(copy, box)
            return before.part(box)

    def _look(self, copy: LocalSlide, box: Area) -> Seen:
        with self.means.sandbox.open(copy.path, _MPP) as slide:
            pixels = slide.overview(box, max(box.width, box.height))
            return Seen(copy, _VERSION.sub("", slide.reader), slide.frame, box, pixels)

    def serve(self, path: Path, way: str, content: bytes | None = None) -> tuple[str, RangedFile]:
        """The URL of the file, another one for every way, and its server."""
        where = f"/{path.parent.name}/{way}/{path.name}".replace(" ", "-")
        self.origin.answers[where] = served = RangedFile(
            path.read_bytes() if content is None else content
        )
        return self.origin.url(where), served
