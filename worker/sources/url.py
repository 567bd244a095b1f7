"""A slide behind a URL, presigned or not: fetched once onto the shelf, afterwards only asked whether it changed.

Owns what makes two URLs the same source. Must not know how bytes are transferred or stored.
"""

import hashlib
import re
import time
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import requests

from worker.incoming import Kept, Source
from worker.shelf import Copy, Shelf
from worker.sources import content
from worker.sources.download import Download
from worker.values import Watch

_SIGNED_BY = {
    # the parameter that makes a URL presigned -> all those that change with every signature
    "x-amz-signature": re.compile(r"x-amz-.*"),
    "x-goog-signature": re.compile(r"x-goog-.*"),
    "signature": re.compile(r"signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|x-amz-security-token"),
    "sig": re.compile(r"sig|s[eprstv]|srt|sip|sdd|spr|sk[estv]|sk[ot]id|saoid|suoid|scid"),  # Azure
}


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Brings slides from URLs onto the shelf and pins them in `pins`."""

    shelf: Shelf
    http: requests.Session
    limit_bytes: int
    watch: Watch
    pins: ExitStack

    def fetch(self, url: str) -> Copy:
        """The slide behind `url`. Two that want the same source at once download it once.

        The server is asked each time, unless the very same URL was answered while this call waited for its turn: only
        the server can say whether this signature may read the slide. An unchanged slide is recognised by a strong ETag.
        """
        began, copy = time.time(), None
        with self.shelf.source(source_key(url), self.watch) as source:
            known = source.kept
            if known and known.asked == _hashed(url) and known.at >= began:
                copy = self._pin(known.digest)
            while copy is None:  # asked twice when the slide is evicted between the server's "unchanged" and the pin
                known = known if known and known.etag and self.shelf.has(known.digest) else None
                copy = self._ask(url, source, known)
        return copy

    def _ask(self, url: str, source: Source, known: Kept | None) -> Copy | None:
        with self.shelf.part() as part:
            download = Download(self.http, url, part, self.limit_bytes, self.watch)
            if not download.run(known.etag if known else ""):
                return self._pin(known.digest) if known else None
            copy = self.pins.enter_context(self.shelf.put(part, content.suffix(part.head())))
            source.keep(Kept(copy.digest, download.etag, _hashed(url), time.time()))
            return copy

    def _pin(self, digest: str) -> Copy | None:
        return self.pins.enter_context(self.shelf.pinned(digest))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def source_key(url: str) -> str:
    """The name of a source: a hash of the URL without what changes with every signature."""
    parts = urlsplit(url)
    named = [(unquote(pair.partition("=")[0]).lower(), pair) for pair in parts.query.split("&")]
    volatile = [pattern for sign, pattern in _SIGNED_BY.items() if any(name == sign for name, _ in named)]
    lasting = [pair for name, pair in named if not any(pattern.fullmatch(name) for pattern in volatile)]
    identity = f"{parts.scheme}://{parts.netloc}{parts.path}?{'&'.join(lasting)}"
    return _hashed(identity)
