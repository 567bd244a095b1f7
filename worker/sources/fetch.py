"""A slide becomes a file on this machine, wherever its source is.

For slides on other machines this module alone decides when a cached one may be used and when it is
downloaded again. How the bytes are transferred is up to each `RemoteSlide`.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import requests

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.fields import without_query
from broker.orders.request import ScanRequest
from broker.orders.source import (
    CaseSource,
    ImageServerSource,
    PathSource,
    SlideSource,
    UploadSource,
    UrlSource,
)
from broker.settings.config import WorkerSettings
from broker.uploads import Uploads
from broker.uploads.errors import UploadNotFoundError
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import SourceRecord
from worker.slides.sandbox.client import Sandbox
from worker.sources.case_locator import locate
from worker.sources.dicom_series.fetch import DicomSeries
from worker.sources.http import checksum
from worker.sources.http.byte_ranges import RangesUnsuitable
from worker.sources.image_server.client import ImageServerClient
from worker.sources.image_server.fetch import find_region
from worker.sources.linked_companions import with_expected_names
from worker.sources.path import find_slide
from worker.sources.remote_slide import RemoteSlide
from worker.sources.remote_tiff.fetch import RemoteRegion
from worker.sources.request import FetchRequest
from worker.sources.upload.fetch import uploaded_slide
from worker.sources.url import WholeFile, source_key
from worker.sources.zip.fetch import ZipArchive

_IMAGE_SERVER_READ_S: Final = 10.0  # stopping the work waits for an answer no longer than this
_log = logging.getLogger(__name__)


class SlideFetcher:
    """Fetches slides into this machine's slide cache; threads share it."""

    def __init__(
        self,
        slide_cache: SlideCache,
        http: requests.Session,
        sandbox: Sandbox,
        settings: WorkerSettings,
        uploads: Uploads | None = None,
    ) -> None:
        """Without `uploads`, no order of this fetcher names one."""
        self._uploads = uploads
        self._slide_cache = slide_cache
        self._http = http
        self._sandbox = sandbox
        self._settings = settings

    @property
    def limit_bytes(self) -> int:
        """Return the most bytes that one slide may take.

        A slide larger than cache or disk would wait for space for ever.
        """
        slides = self._settings.slides
        return min(slides.max_slide_bytes, slides.max_bytes, self._slide_cache.disk_bytes)

    @contextmanager
    def fetch(
        self,
        scan: ScanRequest,
        card: AlgorithmCard | None,
        progress: Progress,
        known: Mapping[str, Any] | None = None,
    ) -> Iterator[LocalSlide]:
        """Fetch the slide of a scan and keep it on this machine for the context.

        `card`: of the algorithm that will read it, None where no worker has announced it.
        `known`: what `LocalSlide.as_dict` returned when the slide was fetched before. If it is
        still cached, its server is not asked again, since the URL may have expired by now.

        Raise `OrderError` for what the caller can correct, `TemporaryError` where another try may
        succeed, and `StopWork`.
        """
        with ExitStack() as pins:
            slide = None
            if known and "digest" in known:
                slide = pins.enter_context(self._slide_cache.pinned(str(known["digest"])))
            if slide and known:
                yield replace(slide, mpp=known.get("mpp"))
            else:
                request = FetchRequest(scan.source, scan.roi, scan.mpp, card)
                yield self._fetch(request, progress, pins)

    def _fetch(self, request: FetchRequest, progress: Progress, pins: ExitStack) -> LocalSlide:
        match request.source:
            case PathSource(path=path):
                slide = find_slide(path, self._settings.slides.roots)
                return with_expected_names(slide, self._slide_cache, pins)
            case UrlSource() as source:
                return self._fetch_url(source, request, progress, pins)
            case ImageServerSource() as source:
                return self._fetch_image_region(source, request, progress, pins)
            case UploadSource(upload=upload_id):
                return self._fetch_upload(upload_id, progress, pins)
            case CaseSource(case_id=case_id, slide=slide):
                locator = self._settings.locator
                located, mpp = locate(case_id, locator, self._http, progress, slide=slide)
                request = replace(request, source=located, mpp=request.mpp or mpp)
                return replace(self._fetch(request, progress, pins), mpp=mpp)
            case SlideSource():
                raise ValueError("the API replaces this source before it stores an order")

    def _fetch_url(
        self, source: UrlSource, request: FetchRequest, progress: Progress, pins: ExitStack
    ) -> LocalSlide:
        if source.urls:
            urls = tuple(url.get_secret_value() for url in source.urls)
            return self._fetch_series(urls, progress, pins)
        if source.zip_url:
            zip_url = source.zip_url.get_secret_value()
            return self._fetch_archive(zip_url, source.sha256, progress, pins)
        ((_, url),) = source.addresses
        return self._fetch_file(url, source.sha256, request, progress, pins)

    def _fetch_upload(self, upload_id: str, progress: Progress, pins: ExitStack) -> LocalSlide:
        if self._uploads is None:
            raise UploadNotFoundError(upload_id)
        max_bytes = self._settings.slides.max_bytes
        slide = uploaded_slide(self._uploads, upload_id, self.limit_bytes, max_bytes, progress)
        return fetch_remote(slide, self._slide_cache, progress, pins)

    def _fetch_series(
        self, urls: tuple[str, ...], progress: Progress, pins: ExitStack
    ) -> LocalSlide:
        series = DicomSeries(self._http, urls, self.limit_bytes, progress)
        return fetch_remote(series, self._slide_cache, progress, pins)

    def _fetch_archive(
        self, url: str, sha256: str | None, progress: Progress, pins: ExitStack
    ) -> LocalSlide:
        max_bytes = self._settings.slides.max_bytes
        archive = ZipArchive(self._http, url, sha256, self.limit_bytes, max_bytes, progress)
        return fetch_remote(archive, self._slide_cache, progress, pins)

    def _fetch_file(
        self,
        url: str,
        sha256: str | None,
        request: FetchRequest,
        progress: Progress,
        pins: ExitStack,
    ) -> LocalSlide:
        if sha256 is None:  # a checksum is of the whole file
            region = self.fetch_region(url, request, progress, pins)
            if region:
                return region
        file = WholeFile(self._http, url, sha256, self.limit_bytes, progress)
        slide = fetch_remote(file, self._slide_cache, progress, pins)
        checksum.require(sha256, slide.digest, without_query(url))
        return slide

    def fetch_region(
        self, url: str, request: FetchRequest, progress: Progress, pins: ExitStack
    ) -> LocalSlide | None:
        """Fetch what reading the requested region takes of the file behind `url`.

        Return None where the file must be fetched whole: the algorithm wants the file, nobody knows
        what will be read, the whole file is cached, the server gives no ranges with a strong ETag,
        the file is no tiled TIFF of a supported kind, or most of it would be needed.
        """
        if request.roi in (None, "full") or request.card is None or request.card.whole_file:
            return None
        if _is_cached(source_key(url), self._slide_cache, progress):
            return None
        region = RemoteRegion(
            self._http,
            url,
            request.roi,
            request.mpp,
            request.card,
            self._sandbox,
            self.limit_bytes,
            progress,
        )
        try:
            return fetch_remote(region, self._slide_cache, progress, pins)
        except RangesUnsuitable as reason:
            _log.info("a slide is fetched whole for one region of it: %s", reason)
            return None

    def _fetch_image_region(
        self,
        source: ImageServerSource,
        request: FetchRequest,
        progress: Progress,
        pins: ExitStack,
    ) -> LocalSlide:
        limits = self._settings.deliver
        timeout_s = (limits.connect_timeout_s, min(limits.read_timeout_s, _IMAGE_SERVER_READ_S))
        with ImageServerClient(self._http, progress, timeout_s) as client:
            region = find_region(
                client, source, request.roi, request.mpp, request.card, self.limit_bytes
            )
            return fetch_remote(region, self._slide_cache, progress, pins)


def fetch_remote(
    remote: RemoteSlide, cache: SlideCache, progress: Progress, pins: ExitStack
) -> LocalSlide:
    """Return the cached slide if it is unchanged at its source, else download it.

    The slide is pinned until `pins` closes.

    Orders that need the same source at the same time download it once. The server is asked each
    time, since only it knows whether this signature may read the slide; unless the same request was
    answered within `remote.fresh_s`, or while this call waited for its turn.
    """
    called_at = time.time()
    with cache.source(remote.cache_key, progress) as source:
        known = source.record
        if known and _is_fresh(known, remote, called_at):
            slide = pins.enter_context(cache.pinned(known.digest))
            if slide:
                return slide
        while True:
            known_etag = _cached_etag(known, cache)
            downloaded = remote.download(cache, pins, known_etag)
            if downloaded.slide:
                digest = downloaded.slide.digest
                source.save(SourceRecord(digest, downloaded.etag, remote.fingerprint, time.time()))
                return downloaded.slide
            if known and known_etag:
                slide = pins.enter_context(cache.pinned(known.digest))
                if slide:
                    return slide
            # The slide was evicted after its server had said that it is unchanged: download it now.


def _is_fresh(known: SourceRecord, remote: RemoteSlide, called_at: float) -> bool:
    """Return whether the known download answers the same request and is recent enough."""
    is_same_request = known.fingerprint == remote.fingerprint
    return is_same_request and known.requested_at >= called_at - remote.fresh_s


def _cached_etag(known: SourceRecord | None, cache: SlideCache) -> str:
    """Return the ETag of the last download, or an empty string where it is not cached any more."""
    if known and cache.contains(known.digest):
        return known.etag
    return ""


def _is_cached(cache_key: str, cache: SlideCache, progress: Progress) -> bool:
    """Wait for a download of the source that is under way; return whether the last is cached."""
    with cache.source(cache_key, progress) as source:
        known = source.record
        return known is not None and cache.contains(known.digest)
