"""Put slides into a slide cache and list the files in its folder."""

import os
from pathlib import Path

from worker.slide_cache.cache import SlideCache


def put(slide_cache: SlideCache, content: bytes, used_s: float = 0) -> str:
    """Put a slide into the cache and return its digest; it was last used at `used_s` (Unix s)."""
    with slide_cache.partial_file() as partial_file:
        partial_file.reserve(len(content))
        partial_file.write(content)
        with slide_cache.put(partial_file, ".bin") as slide:
            os.utime(slide.path, (used_s, used_s))
        return partial_file.digest


def files(folder: Path) -> list[str]:
    """Return the names of all files below the cache's subfolders."""
    return sorted(path.name for path in folder.glob("*/**/*") if path.is_file())
