"""A slide in one file behind a URL, presigned or not."""

import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

import requests

from broker.orders.fields import without_query
from worker.progress import Progress
from worker.slide_cache.cache import SlideCache
from worker.slides import signatures
from worker.sources.http import checksum
from worker.sources.http.download import Download
from worker.sources.remote_slide import Downloaded, sha256_hex

_SIGNATURE_PARAMETERS: Final = {
    # the parameter that makes a URL presigned: all the parameters that change with every signature
    "x-amz-signature": re.compile(r"x-amz-.*"),
    "x-goog-signature": re.compile(r"x-goog-.*"),
    "signature": re.compile(
        r"signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|x-amz-security-token"
    ),
    "sig": re.compile(r"sig|s[eprstv]|srt|sip|sdd|spr|sk[estv]|sk[ot]id|saoid|suoid|scid"),  # Azure
}


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A slide in one file.

    `sha256`: of the file in hex where the order states it; another file is refused.
    """

    session: requests.Session
    url: str = field(repr=False)
    sha256: str | None
    limit_bytes: int
    progress: Progress
    fresh_s: float = 0.0

    @property
    def cache_key(self) -> str:
        """The URL without its signature, hashed."""
        return source_key(self.url)

    @property
    def fingerprint(self) -> str:
        """The URL, hashed."""
        return sha256_hex(self.url)

    def download(self, cache: SlideCache, pins: ExitStack, known_etag: str) -> Downloaded:
        """Download the file unless its strong ETag is still `known_etag`."""
        with cache.partial_file() as part:
            download = Download(
                self.session, self.url, part, self.limit_bytes, self.progress, self._suffix
            )
            if not download.run(known_etag):
                return Downloaded(None, known_etag)
            suffix = self._suffix(part.first_bytes())
            checksum.require(self.sha256, part.digest, without_query(self.url))
            slide = pins.enter_context(cache.put(part, suffix))
            return Downloaded(slide, download.etag)

    def _suffix(self, head: bytes) -> str:
        """Return the suffix for a file that begins with `head`. Raises `NotASlideError`."""
        return signatures.suffix(head, unquote(urlsplit(self.url).path))


def source_key(url: str) -> str:
    """Return a hash in hex of the URL without the parameters that change with every signature."""
    parts = urlsplit(url)
    parameters = [
        (unquote(pair.partition("=")[0]).lower(), pair) for pair in parts.query.split("&")
    ]
    names = {name for name, _ in parameters}
    volatile = [pattern for sign, pattern in _SIGNATURE_PARAMETERS.items() if sign in names]
    stable = [
        pair for name, pair in parameters if not any(each.fullmatch(name) for each in volatile)
    ]
    return sha256_hex(f"{parts.scheme}://{parts.netloc}{parts.path}?{'&'.join(stable)}")
