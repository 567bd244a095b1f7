"""Where slides are sent in and fetched for orders, in one process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.errors import SlidelaneError
from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from broker.uploads import UploadLimits, Uploads
from tests.support.slide_server import Listener
from worker.http_session import session
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.sources.fetch import SlideFetcher

LIMITS = UploadLimits(max_bytes=10**8, per_caller=10, per_caller_bytes=10**9)


class UploadSite:
    """A folder of uploads and a slide cache, on one disk or, by a link, as if on two."""

    def __init__(self, folder: Path) -> None:
        self.uploads = Uploads(folder / "uploads")
        self.cache = SlideCache(folder / "shelf", 10**8)

    def send(self, files: Mapping[str, bytes]) -> str:
        """Upload the files of one slide, and return the id of the set."""
        set_id = None
        for name, content in files.items():
            status = self.uploads.create("clerk", len(content), name, "", LIMITS, set_id)
            set_id = status.set_id
            writer = self.uploads.open_writer(status.id, "clerk", 0)
            writer.write(content)
            writer.close()
        assert set_id is not None
        return set_id

    @contextmanager
    def fetched(
        self,
        upload_id: str,
        known: dict[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[LocalSlide]:
        """The slide of an order that names the upload, pinned."""
        http = session((), connect_timeout_s=2, read_timeout_s=2)
        settings = WorkerSettings(slides=SlidesSettings(max_slide_bytes=10**7, max_bytes=10**8))
        scan = {"id": "1", "source": {"type": "upload", "upload": upload_id}}
        fetcher = SlideFetcher(self.cache, http, Sandbox(threads=1), settings, self.uploads)
        request = ScanRequest.model_validate(scan)
        with http, fetcher.fetch(request, None, progress or Listener(), known) as slide:
            yield slide

    def refusal(self, upload_id: str, progress: Progress | None = None) -> SlidelaneError:
        """The error that a fetch ends in."""
        fetched = self.fetched(upload_id, progress=progress)
        with pytest.raises(SlidelaneError) as caught, fetched:
            pytest.fail("nothing was wrong with it")
        return caught.value
