"""Bringing slides near: from wherever an order says they are to a file on this machine.

Owns the choice by the kind of source. Must not know what is read from the slide.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.request import ScanRequest
from broker.orders.source import CaseSource, ImageServerSource, PathSource, Source, UrlSource
from worker.progress import Progress
from worker.slide_cache.local_slide import LocalSlide
from worker.sources import image_server, path, url
from worker.sources.case_locator import locate
from worker.sources.dicom_series.fetch import fetch as fetch_series
from worker.sources.remote_tiff.fetch import fetch as fetch_region
from worker.sources.request import FetchRequest, FetchTools
from worker.sources.zip.fetch import fetch as fetch_zip

__all__ = ["FetchTools", "LocalSlide", "fetch_slide"]


@contextmanager
def fetch_slide(
    asked: ScanRequest,
    card: AlgorithmCard | None,
    means: FetchTools,
    watch: Progress,
    known: Mapping[str, Any] | None = None,
) -> Iterator[LocalSlide]:
    """The slide as a file that stays where it is while the context lasts.

    `known` is what `LocalSlide.as_dict()` said when it was near before: a slide that is still on the shelf is then used
    without asking its server, whose URL may have expired by now.
    """
    with ExitStack() as pins:
        copy = (
            pins.enter_context(means.shelf.pinned(str(known["digest"])))
            if known and "digest" in known
            else None
        )
        if copy and known:
            yield replace(copy, mpp=known.get("mpp"))
        else:
            yield _fetched(
                asked.source, FetchRequest(asked.roi, asked.mpp, card, means, watch, pins)
            )


def _fetched(source: Source, errand: FetchRequest) -> LocalSlide:
    match source:
        case PathSource():
            return path.find(source.path, errand.means.settings.slides.roots)
        case UrlSource():
            return _from_urls(source, errand)
        case ImageServerSource():
            return image_server.fetch(source, errand)
        case CaseSource():
            means = errand.means
            located, mpp = locate(source.case_id, means.settings.locator, means.http, errand.watch)
            return replace(_fetched(located, replace(errand, mpp=errand.mpp or mpp)), mpp=mpp)


def _from_urls(source: UrlSource, errand: FetchRequest) -> LocalSlide:
    if source.urls:
        return fetch_series([url.get_secret_value() for url in source.urls], errand)
    if source.zip_url:
        return fetch_zip(source.zip_url.get_secret_value(), errand, source.sha256)
    ((_, address),) = source.addresses
    part = None if source.sha256 else fetch_region(address, errand)  # a checksum is of the whole
    return part or url.fetch(address, errand, source.sha256)
