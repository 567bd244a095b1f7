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

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.fields import without_query
from broker.orders.request import ScanRequest
from broker.orders.source import CaseSource, ImageServerSource, PathSource, UrlSource
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import SourceRecord
from worker.sources.case_locator import locate
from worker.sources.dicom_series.fetch import DicomSeries
from worker.sources.http import checksum
from worker.sources.http.byte_ranges import RangesUnsuitable
from worker.sources.image_server.client import ImageServerClient
from worker.sources.image_server.fetch import find_region
from worker.sources.path import find_slide
from worker.sources.remote_slide import RemoteSlide
from worker.sources.remote_tiff.fetch import RemoteRegion
from worker.sources.request import FetchRequest, FetchTools
from worker.sources.url import WholeFile, source_key
from worker.sources.zip.fetch import ZipArchive

__all__ = ["FetchTools", "LocalSlide", "fetch_slide"]

_IMAGE_SERVER_READ_S: Final = 10.0  # stopping the work waits for an answer no longer than this
_log = logging.getLogger(__name__)


@contextmanager
def fetch_slide(
    scan: ScanRequest,
    card: AlgorithmCard | None,
    tools: FetchTools,
    progress: Progress,
    known: Mapping[str, Any] | None = None,
) -> Iterator[LocalSlide]:
    """Fetch the slide of a scan and keep it on this machine for the context.

    `known` is what `LocalSlide.as_dict` returned when the slide was fetched before: if it is still
    cached, its server is not asked again, since the URL may have expired by now.

    Raises `OrderError` for what the caller can correct, `TemporaryError` where another try may
    succeed, and `StopWork`.
    """
    with ExitStack() as pins:
        slide = None
        if known and "digest" in known:
            slide = pins.enter_context(tools.slide_cache.pinned(str(known["digest"])))
        if slide and known:
            yield replace(slide, mpp=known.get("mpp"))
        else:
            request = FetchRequest(scan.source, scan.roi, scan.mpp, card)
            yield _fetch(request, tools, progress, pins)


def _fetch(
    request: FetchRequest, tools: FetchTools, progress: Progress, pins: ExitStack
) -> LocalSlide:
    match request.source:
        case PathSource() as source:
            return find_slide(source.path, tools.settings.slides.roots)
        case UrlSource() as source:
            return _fetch_urls(source, request, tools, progress, pins)
        case ImageServerSource() as source:
            return _fetch_image_region(source, request, tools, progress, pins)
        case CaseSource() as source:
            located, mpp = locate(source.case_id, tools.settings.locator, tools.http, progress)
            request = replace(request, source=located, mpp=request.mpp or mpp)
            return replace(_fetch(request, tools, progress, pins), mpp=mpp)


def _fetch_urls(
    source: UrlSource,
    request: FetchRequest,
    tools: FetchTools,
    progress: Progress,
    pins: ExitStack,
) -> LocalSlide:
    cache = tools.slide_cache
    if source.urls:
        urls = tuple(url.get_secret_value() for url in source.urls)
        series = DicomSeries(tools.http, urls, tools.limit_bytes, progress)
        return fetch_remote(series, cache, progress, pins)
    if source.zip_url:
        archive = ZipArchive(
            tools.http,
            source.zip_url.get_secret_value(),
            source.sha256,
            tools.limit_bytes,
            tools.settings.slides.max_bytes,
            progress,
        )
        return fetch_remote(archive, cache, progress, pins)
    ((_, url),) = source.addresses
    if source.sha256 is None:  # a checksum is of the whole file
        region = fetch_region(url, request, tools, progress, pins)
        if region:
            return region
    file = WholeFile(tools.http, url, source.sha256, tools.limit_bytes, progress)
    slide = fetch_remote(file, cache, progress, pins)
    checksum.require(source.sha256, slide.digest, without_query(url))
    return slide


def fetch_region(
    url: str, request: FetchRequest, tools: FetchTools, progress: Progress, pins: ExitStack
) -> LocalSlide | None:
    """Fetch what reading the requested region takes of the file behind `url`.

    Return None to fetch it whole.

    That is so where nobody knows what will be read, the whole file is cached, the server gives no
    ranges with a strong ETag, the file is no tiled TIFF of a supported kind, or most of it would be
    needed.
    """
    cache = tools.slide_cache
    if request.roi in (None, "full") or request.card is None:
        return None
    if _is_cached(source_key(url), cache, progress):
        return None
    region = RemoteRegion(
        tools.http,
        url,
        request.roi,
        request.mpp,
        request.card,
        tools.sandbox,
        tools.limit_bytes,
        progress,
    )
    try:
        return fetch_remote(region, cache, progress, pins)
    except RangesUnsuitable as reason:
        _log.info("a slide is fetched whole for one region of it: %s", reason)
        return None


def _fetch_image_region(
    source: ImageServerSource,
    request: FetchRequest,
    tools: FetchTools,
    progress: Progress,
    pins: ExitStack,
) -> LocalSlide:
    limits = tools.settings.deliver
    timeout_s = (limits.connect_timeout_s, min(limits.read_timeout_s, _IMAGE_SERVER_READ_S))
    with ImageServerClient(tools.http, progress, timeout_s) as client:
        region = find_region(
            client, source, request.roi, request.mpp, request.card, tools.limit_bytes
        )
        return fetch_remote(region, tools.slide_cache, progress, pins)


def fetch_remote(
    remote: RemoteSlide, cache: SlideCache, progress: Progress, pins: ExitStack
) -> LocalSlide:
    """Return the cached slide if it is unchanged at its source, else download it.

    Pinned until `pins` closes.

    Orders that need the same source at the same time download it once. The server is asked each
    time, since only it knows whether this signature may read the slide; unless the same request was
    answered within `remote.fresh_s`, or while this call waited for its turn.
    """
    called_at = time.time()
    with cache.source(remote.cache_key, progress) as source:
        known = source.record
        if known and known.asked == remote.fingerprint and known.at >= called_at - remote.fresh_s:
            slide = pins.enter_context(cache.pinned(known.digest))
            if slide:
                return slide
        while True:
            if known and not (known.etag and cache.contains(known.digest)):
                known = None
            known_etag = known.etag if known else ""
            downloaded = remote.download(cache, pins, known_etag)
            if downloaded.slide:
                digest = downloaded.slide.digest
                source.save(SourceRecord(digest, downloaded.etag, remote.fingerprint, time.time()))
                return downloaded.slide
            if known:
                slide = pins.enter_context(cache.pinned(known.digest))
                if slide:
                    return slide
            # The slide was evicted after its server had said that it is unchanged: download it now.


def _is_cached(cache_key: str, cache: SlideCache, progress: Progress) -> bool:
    """Return whether the last download of a source is cached.

    One that is under way is waited for.
    """
    with cache.source(cache_key, progress) as source:
        known = source.record
        return known is not None and cache.contains(known.digest)
