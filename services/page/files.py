"""The files of the page, read once when the service starts.

A request names a file by its key in a table, so that no path of a request reaches the disk.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "web"
INDEX: Final = "index.html"
VERSION_MARK: Final = b"{{version}}"
_VERSION_DIGITS: Final = 16
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
"""The files that are served, by their suffix. Any other file of the folder is not."""
_COMPRESSED_ALREADY: Final = frozenset({".ico", ".png", ".woff2"})
_ABSENT: Final = b"""<!doctype html>
<html lang="en">
  <head><meta charset="utf-8"><title>Slidelane</title><link rel="icon" href="data:,"></head>
  <body><h1>Slidelane</h1><p>This installation has no page. <a href="docs">The API</a></p></body>
</html>
"""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file: its bytes, the same compressed with gzip where that helps, its media type."""

    content: bytes
    compressed: bytes | None
    media_type: str


@dataclass(frozen=True, slots=True)
class PageFiles:
    """All files of the page by their path below the folder, and the version that names them."""

    version: str
    index: PageFile
    assets: Mapping[str, PageFile]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> "PageFiles":
        """Return the files of a folder. `version` changes with every name and every byte."""
        contents: dict[str, bytes] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in _MEDIA_TYPES:
                contents[path.relative_to(folder).as_posix()] = path.read_bytes()
        index = contents.setdefault(INDEX, _ABSENT)
        version = _digest(contents)
        del contents[INDEX]
        assets = {name: _file(name, content) for name, content in contents.items()}
        return cls(version, _file(INDEX, index.replace(VERSION_MARK, version.encode())), assets)


def _digest(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_VERSION_DIGITS]


def _file(name: str, content: bytes) -> PageFile:
    suffix = Path(name).suffix
    compressed = None
    if suffix not in _COMPRESSED_ALREADY:
        compressed = gzip.compress(content, mtime=0)
        if len(compressed) >= len(content):
            compressed = None
    return PageFile(content, compressed, _MEDIA_TYPES[suffix])
