"""A source is asked once at a time, and a slide that stands on the shelf is fetched again only if it changed.

Owns that rule. Must not know how anything is fetched.
"""

import hashlib
import time
from collections.abc import Callable

from worker.slide_cache.local_slide import LocalSlide
from worker.slide_cache.partial_file import SourceRecord
from worker.sources.request import FetchRequest

Ask = Callable[[str], tuple[LocalSlide | None, str]]
"""Asks the source, given the validator of what stands on the shelf: the slide, None when unchanged; its validator."""


def hashed(text: str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def revalidate(key: str, asked: str, errand: FetchRequest, ask: Ask) -> LocalSlide:
    """The slide of the source `key` on the shelf, pinned. `asked`: everything that was asked for, signatures included.

    The source is asked each time, unless the very same was answered while this call waited for its turn: only its
    servers can say whether these signatures may read the slide.
    """
    shelf, began, asked = errand.means.shelf, time.time(), hashed(asked)
    with shelf.source(key, errand.watch) as source:
        known = source.kept
        copy = (
            pinned(known, errand) if known and known.asked == asked and known.at >= began else None
        )
        while (
            copy is None
        ):  # asked twice when the slide is evicted between the source's "unchanged" and the pin
            known = known if known and known.etag and shelf.has(known.digest) else None
            copy, etag = ask(known.etag if known else "")
            if copy:
                source.keep(SourceRecord(copy.digest, etag, asked, time.time()))
            elif known:
                copy = pinned(known, errand)
        return copy


def pinned(known: SourceRecord, errand: FetchRequest) -> LocalSlide | None:
    """The slide that is known, kept near while the errand lasts; None when it was evicted."""
    return errand.pins.enter_context(errand.means.shelf.pinned(known.digest))
