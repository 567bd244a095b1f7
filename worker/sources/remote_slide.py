"""What every slide on another machine has in common."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a server answered.

    `slide`: None where the known one is unchanged. `etag`: empty where unknown.
    """

    slide: LocalSlide | None
    etag: str


class RemoteSlide(Protocol):
    """A slide, or a region of one, that another machine serves.

    `worker.sources.fetch` decides when to download it.
    """

    @property
    def cache_key(self) -> str:
        """The name of the source in the slide cache, in hex.

        A new signature of a URL does not change it.
        """

    @property
    def fingerprint(self) -> str:
        """A hash in hex of everything that is requested, signatures included."""

    @property
    def fresh_s(self) -> float:
        """For how many seconds a download with the same fingerprint counts as unchanged."""

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download the slide into the cache unless its ETag is still `known_etag`.

        The slide is pinned until `pins` closes. Raise `OrderError` for what the caller can
        correct, `TemporaryError` where another try may succeed, and `StopWork`.
        """


def sha256_hex(text: str) -> str:
    """Return the SHA-256 of a text in hex."""
    return hashlib.sha256(text.encode()).hexdigest()
