"""A region of a tiled TIFF behind a URL, without the rest of the file.

What is put into the slide cache is a manifest (`worker/slides/partial/manifest.py`) and beside it a
file full of holes, so that a part is never mistaken for the whole.
"""

import json
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import requests

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import Roi, as_json
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slides.partial import manifest
from worker.slides.sandbox.client import Sandbox
from worker.sources.http.byte_ranges import RangedUrl, RangesUnsuitable
from worker.sources.http.remote_file import ContentChanged
from worker.sources.remote_slide import Downloaded, sha256_hex
from worker.sources.remote_tiff.select_tiles import select_tiles
from worker.sources.remote_tiff.sparse_file import SparseFile
from worker.sources.url import source_key

_FILE: Final = "slide.tif"
_MIN_FILE_BYTES: Final = 8 * 10**6  # a smaller file arrives before its directory is read
_MAX_TRIES: Final = 2  # a slide that changed while it was fetched has hardly changed again


@dataclass(frozen=True, slots=True)
class RemoteRegion:
    """What an algorithm with this `card` reads of the region `roi` of a slide in one file.

    `mpp`: microns per pixel as the order states them. The sandbox opens the file to find its frame.
    """

    session: requests.Session
    url: str = field(repr=False)
    roi: Roi
    mpp: float | None
    card: AlgorithmCard
    sandbox: Sandbox
    limit_bytes: int
    progress: Progress
    fresh_s: float = 0.0

    @property
    def cache_key(self) -> str:
        """The URL without its signature and all that decides which pixels are read, hashed."""
        read = [as_json(self.roi), self.mpp, self.card.mpp, self.card.tile_px, self.card.halo_px]
        return sha256_hex(f"{source_key(self.url)} {json.dumps(read)}")

    @property
    def fingerprint(self) -> str:
        """The URL, hashed."""
        return sha256_hex(self.url)

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download the region unless the file's strong ETag is still `known_etag`.

        Raise `RangesUnsuitable` where the whole file must be fetched instead.
        """
        for _ in range(_MAX_TRIES):
            with suppress(ContentChanged):
                return self._download_one_version(cache, pins, known_etag)
        raise RangesUnsuitable(
            "its server gives something else each time, or other ranges than it is asked for"
        )

    def _download_one_version(
        self, cache: SlideCache, pins: ExitStack, known_etag: str
    ) -> Downloaded:
        remote = RangedUrl(self.session, self.url, self.progress)
        with (
            cache.file_set() as files,
            SparseFile(files.folder / _FILE, remote, files.reserve) as file,
        ):
            if not file.begin(known_etag):
                raise RangesUnsuitable("its server gives no ranges with a strong ETag")
            if remote.unchanged:
                return Downloaded(None, known_etag)
            if not _MIN_FILE_BYTES <= file.total_bytes <= self.limit_bytes:
                raise RangesUnsuitable(f"it has {file.total_bytes} bytes")
            selected = select_tiles(file, self.roi, self.mpp, self.card, self.sandbox)
            listing = manifest.dumped(selected)
            (files.folder / manifest.NAME).write_bytes(listing)
            digest = file.digest(listing)
            slide = pins.enter_context(cache.put_file_set(files, manifest.NAME, digest))
            return Downloaded(slide, remote.etag)
