"""Putting slides on a shelf, and seeing what lies in its folder."""

import os
from pathlib import Path

from worker.slide_cache.cache import SlideCache


def put(shelf: SlideCache, content: bytes, used_s: float = 0) -> str:
    """Put a slide on the shelf; `used_s` says when it was last used."""
    with shelf.part() as part:
        part.reserve(len(content))
        part.write(content)
        with shelf.put(part, ".bin") as copy:
            os.utime(copy.path, (used_s, used_s))
        return part.digest


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*/**/*") if path.is_file())
