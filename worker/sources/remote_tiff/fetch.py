"""A region of a slide behind a URL without the rest of it, where that is possible and worth it.

Owns when it is, and what makes two regions the same source. Must not know what of a file is needed or how bytes are
transferred. A part is never taken for the whole: on the shelf stands a manifest
(`worker/slides/partial/manifest.py`), and beside it a file full of holes.
"""

import json
import logging
from contextlib import suppress
from typing import Final

from worker.slide_cache.local_slide import LocalSlide
from worker.slides.partial import manifest
from worker.sources.asking import hashed, revalidate
from worker.sources.http.byte_ranges import RangedUrl, RangesUnsuitable
from worker.sources.http.remote_file import ContentChanged
from worker.sources.remote_tiff.select_tiles import Needs, select_tiles
from worker.sources.remote_tiff.sparse_file import SparseFile
from worker.sources.request import FetchRequest
from worker.sources.url import source_key

_FILE: Final = "slide.tif"
_WORTH_BYTES: Final = 8 * 10**6  # a smaller file is here before its directory is looked through
_TRIES: Final = 2  # a slide that changed while it was fetched has hardly changed again
_log = logging.getLogger(__name__)


def fetch(url: str, errand: FetchRequest) -> LocalSlide | None:
    """What reading the errand's region takes of the slide behind `url`, on the shelf; None where the whole must come.

    That is so where nobody knows what will be read, the whole is near, the server gives no ranges of strongly
    validated content, the file is no tiled TIFF of a kind known here, or most of it would be needed anyway.
    Raises `OrderError` for what the caller can mend, `TemporaryError` when the server falls silent in the middle.
    """
    if errand.roi is None or errand.card is None or _whole_is_near(url, errand):
        return None
    needs = Needs(errand.roi, errand.mpp, errand.card)
    try:
        return revalidate(
            _key(url, needs),
            url,
            errand,
            lambda known_etag: _of_one_content(url, needs, known_etag, errand),
        )
    except RangesUnsuitable as unfit:
        _log.info("a slide is fetched whole for one region of it: %s", unfit)
        return None


def _of_one_content(
    url: str, needs: Needs, known_etag: str, errand: FetchRequest
) -> tuple[LocalSlide | None, str]:
    for _ in range(_TRIES):
        with suppress(ContentChanged):
            return _ask(url, needs, known_etag, errand)
    raise RangesUnsuitable(
        "its server gives something else each time, or other ranges than it is asked for"
    )


def _ask(
    url: str, needs: Needs, known_etag: str, errand: FetchRequest
) -> tuple[LocalSlide | None, str]:
    """The part and its ETag; None and the known ETag where that still stands."""
    shelf, remote = errand.means.shelf, RangedUrl(errand.means.http, url, errand.watch)
    with (
        shelf.bundle() as bundle,
        SparseFile(bundle.folder / _FILE, remote, bundle.reserve) as file,
    ):
        if not file.begin(known_etag):
            raise RangesUnsuitable("its server gives no ranges with a strong ETag")
        if remote.unchanged:
            return None, known_etag
        if not _WORTH_BYTES <= file.total_bytes <= errand.means.limit_bytes:
            raise RangesUnsuitable(f"it has {file.total_bytes} bytes")
        listing = manifest.dumped(select_tiles(file, needs, errand.means.sandbox))
        (bundle.folder / manifest.NAME).write_bytes(listing)
        copy = errand.pins.enter_context(
            shelf.put_bundle(bundle, manifest.NAME, file.digest(listing))
        )
        return copy, remote.etag


def _whole_is_near(url: str, errand: FetchRequest) -> bool:
    shelf = errand.means.shelf
    with shelf.source(source_key(url), errand.watch) as whole:
        return whole.kept is not None and shelf.has(whole.kept.digest)


def _key(url: str, needs: Needs) -> str:
    """The name of a part of a source: of the source, and of all that decides what is read of it."""
    card = needs.card
    read = [needs.roi.model_dump(mode="json"), needs.mpp, card.mpp, card.tile_px, card.halo_px]
    return hashed(f"{source_key(url)} {json.dumps(read)}")
