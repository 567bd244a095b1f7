"""A slide cache and an origin, and a fetch from the one to the other."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError, SlidelaneError, TemporaryError
from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from tests.support.slide_server import Answer, Handler, Listener, SlideServer
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slides.sandbox.client import Sandbox
from worker.sources import fetch

SLIDE = b"II*\0" + random.Random(1).randbytes(2_000_000)
OTHER = b"II*\0" + random.Random(2).randbytes(2_000_000)
SECRET = "X-Amz-Signature=5ecre7&X-Amz-Expires=60"


@dataclass
class SlideFetcher:
    """A slide cache and an origin, and what it takes to fetch from the one to the other."""

    origin: SlideServer
    folder: Path
    limit_bytes: int = 10_000_000

    @property
    def slide_cache(self) -> SlideCache:
        return SlideCache(self.folder, 20_000_000)

    def serve(self, answer: Answer, path: str = "/slide.svs") -> str:
        self.origin.answers[path] = answer
        return self.origin.url(f"{path}?{SECRET}")

    def fetch(
        self, url: str, progress: Listener | None = None, known: dict[str, Any] | None = None
    ) -> bytes:
        """The bytes of the slide as they lie in the slide cache."""
        http = session(("127.0.0.1",), connect_timeout_s=2, read_timeout_s=2)
        settings = WorkerSettings(slides=SlidesSettings(max_slide_bytes=self.limit_bytes))
        scan = ScanRequest.model_validate({"id": "1", "source": {"type": "url", "url": url}})
        fetcher = fetch.SlideFetcher(self.slide_cache, http, Sandbox(threads=1), settings)
        with http, fetcher.fetch(scan, None, progress or Listener(), known) as slide:
            content = slide.path.read_bytes()
            assert slide.bytes == len(content)
            return content

    def refusal(self, url: str) -> SlidelaneError:
        """The error that a fetch ends in; whatever it is, it gives no secret away and leaves
        nothing behind.
        """
        with pytest.raises(SlidelaneError) as caught:
            self.fetch(url)
        told = f"{caught.value.problem} {caught.value!r} {caught.value.__cause__!r}"
        assert "5ecre7" not in told
        assert caught.value.__suppress_context__ or "5ecre7" not in repr(caught.value.__context__)
        assert self.files() == []
        return caught.value

    def files(self) -> list[str]:
        """Every slide and every part in the slide cache."""
        return sorted(
            path.name
            for path in self.folder.glob("*/**/*")
            if path.is_file() and len(path.name) < 40
        )

    def headers(self, name: str) -> list[str | None]:
        """One header of all requests so far."""
        return [headers.get(name) for _, headers in self.origin.asked]


def kind_of(error: SlidelaneError) -> type[SlidelaneError]:
    """Which of the two kinds an error is, whatever its own class: the caller's, or worth another
    try.
    """
    return next(kind for kind in (OrderError, TemporaryError) if isinstance(error, kind))


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    return lambda handler: Handler.answer(handler, code, body, **headers)


def one_after_another(*answers: Answer) -> Answer:
    """Each request takes the next answer, and the last one serves all that follow."""
    left = list(answers)

    def answer(handler: Handler) -> None:
        now = left.pop(0) if len(left) > 1 else left[0]
        now(handler)

    return answer
