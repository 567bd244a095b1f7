"""The URL of an image on its server: where the image's name stands in it, and what goes along on every request.

Owns URLs as texts. Knows no protocol and asks nobody.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """A URL around the image's `name`: tokens and whatever else the order wrote stand before and after it."""

    before: str
    name: str
    after: str

    @classmethod
    def of(cls, url: str, command: str) -> Self:
        """Find the name: the value of the query's `command` (FastCGI servers take it so), else the path."""
        parts = urlsplit(url)
        pairs = parts.query.split("&") if parts.query else []
        root = f"{parts.scheme}://{parts.netloc}"
        for number, pair in enumerate(pairs):
            key, _, name = pair.partition("=")
            if key.lower() == command.lower():
                before = "&".join([*pairs[:number], f"{key}="])
                return cls(
                    f"{root}{parts.path}?{before}",
                    name,
                    "".join(f"&{p}" for p in pairs[number + 1 :]),
                )
        return cls(root, parts.path, f"?{parts.query}" if parts.query else "")

    def url(self, name: str) -> str:
        """The URL with another name in place of the image's."""
        return f"{self.before}{name}{self.after}"
