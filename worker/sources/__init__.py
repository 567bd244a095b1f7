"""Bringing slides near: from wherever an order says they are to a file on this machine.

Owns the choice by `source.type`. Must not know what is read from the slide.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import requests

from broker.config import SlidesSettings
from broker.request import PathSource, Source
from worker.shelf import Copy, Shelf
from worker.sources import path
from worker.sources.url import Fetcher
from worker.values import Watch

__all__ = ["Copy", "near"]


@contextmanager
def near(
    source: Source,
    shelf: Shelf,
    http: requests.Session,
    slides: SlidesSettings,
    watch: Watch,
    known: Mapping[str, Any] | None = None,
) -> Iterator[Copy]:
    """The slide as a file that stays where it is while the context lasts.

    `known` is what `Copy.as_dict()` said when it was near before: a slide that is still on the shelf is then used
    without asking its server, whose URL may have expired by now.
    """
    if isinstance(source, PathSource):
        yield path.find(source.path, slides.roots)
        return
    with ExitStack() as pins:
        copy = pins.enter_context(shelf.pinned(str(known["digest"]))) if known and "digest" in known else None
        # a slide larger than the whole shelf would wait for room for ever
        limit_bytes = min(slides.max_slide_bytes, slides.max_bytes)
        fetcher = Fetcher(shelf, http, limit_bytes, watch, pins)
        yield copy or fetcher.fetch(source.url.get_secret_value())
