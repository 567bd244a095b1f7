"""Which slides on this machine may be shown: below an allowed folder, or in the slide cache."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote_to_bytes

from broker.errors import OrderError
from worker.slide_cache.local_slide import STAT, LocalSlide
from worker.slide_cache.reading import ReadSlideCache
from worker.sources.path import find_slide
from worker.viewer.slides.known_slides import FileState, KnownSlides

HEADER: Final = "Slide-Path"
"""The header of a request that names the slide by its path on this machine's disk."""
DIGEST_HEADER: Final = "Slide-Digest"
"""The header that says which slide was there before, as `LocalSlide.digest`; it may be absent."""
_MOST_CHARS: Final = 12_000  # of a path of 4,096 bytes, each as %XX


class AllowedSlides:
    """Finds slides by the paths that requests name. Threads may share it.

    `folders`: those below which slides may be, beside the slide cache.
    """

    def __init__(self, folders: Sequence[Path], cache: ReadSlideCache) -> None:
        self._folders = tuple(folders)
        self._cache = cache
        self._known = KnownSlides()

    def find(self, header: str | None, digest: str | None = None) -> LocalSlide:
        """Return the slide that the header names, percent-encoded in UTF-8.

        `digest`: of the slide that is meant, None for whichever lies there. Raise `OrderError`:
        `request_malformed` for a header that is none, `slide_gone` for a slide that was evicted or
        has another digest now, and what `find_slide` raises.
        """
        path = _path_of(header)
        slide = self._known.get(path)
        if slide is None:
            before = FileState.of(path)
            slide = self._find(path)
            if slide.digest.startswith(STAT) and before is not None:
                self._known.put(path, before, slide)
        if digest is not None and digest != slide.digest:
            raise slide_changed()
        return slide

    def _find(self, path: str) -> LocalSlide:
        resolved = Path(os.path.realpath(path))
        if not self._cache.holds(resolved):
            return find_slide(path, self._folders)
        slide = self._cache.find(resolved)
        if slide is None or Path(os.path.realpath(slide.path)) != resolved:
            raise slide_gone()
        return slide


def slide_gone() -> OrderError:
    """Return the error for a slide that is no longer in the slide cache."""
    return OrderError(
        "slide_gone",
        "the slide was fetched to this machine and has been removed since",
        hint="look at its source again, or order again, to fetch it",
    )


def slide_changed() -> OrderError:
    """Return the error for a path at which another slide lies than the one that is meant."""
    return OrderError(
        "slide_gone",
        "the file of the slide has changed, or another one lies in its place",
        hint="look at the slide again, or order it again",
    )


def _path_of(header: str | None) -> str:
    """Return the absolute path that the header states. Raise `OrderError`."""
    if not header or len(header) > _MOST_CHARS:
        raise _malformed("is missing, empty or too long")
    try:
        path = unquote_to_bytes(header).decode()
    except UnicodeDecodeError:
        raise _malformed("is not UTF-8") from None
    if not path.startswith("/") or "\0" in path:
        raise _malformed("is not an absolute path")
    return path


def _malformed(reason: str) -> OrderError:
    hint = "the absolute path of the slide, percent-encoded in UTF-8"
    return OrderError("request_malformed", f"the header {HEADER} {reason}", hint=hint)
