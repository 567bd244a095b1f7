"""A slide behind a URL, presigned or not: fetched once onto the shelf, afterwards only asked whether it changed.

Owns what makes two URLs the same source. Must not know how bytes are transferred or stored.
"""

import re
from functools import partial
from typing import Final
from urllib.parse import unquote, urlsplit

from broker.orders.fields import without_query
from worker.slide_cache.local_slide import LocalSlide
from worker.slides import signatures
from worker.sources import asking
from worker.sources.http import checksum
from worker.sources.http.download import Download
from worker.sources.request import FetchRequest

_SIGNED_BY: Final = {
    # the parameter that makes a URL presigned -> all those that change with every signature
    "x-amz-signature": re.compile(r"x-amz-.*"),
    "x-goog-signature": re.compile(r"x-goog-.*"),
    "signature": re.compile(
        r"signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid|x-amz-security-token"
    ),
    "sig": re.compile(r"sig|s[eprstv]|srt|sip|sdd|spr|sk[estv]|sk[ot]id|saoid|suoid|scid"),  # Azure
}


def fetch(url: str, errand: FetchRequest, sha256: str | None = None) -> LocalSlide:
    """The slide behind `url`, on the shelf. Two that want the same source at once download it once.

    The server is asked each time: only it can say whether this signature may read the slide. An unchanged slide is
    recognised by a strong ETag. `sha256`: of the file, in hex, where the order states it; another content is refused.
    """
    shown, name = without_query(url), unquote(urlsplit(url).path)
    judge = partial(signatures.suffix, name=name)

    def ask(etag: str) -> tuple[LocalSlide | None, str]:
        with errand.means.shelf.part() as part:
            download = Download(
                errand.means.http, url, part, errand.means.limit_bytes, errand.watch, judge
            )
            if not download.run(etag):
                return None, ""
            suffix = judge(part.head())
            checksum.demand(sha256, part.digest, shown)
            return errand.pins.enter_context(errand.means.shelf.put(part, suffix)), download.etag

    copy = asking.revalidate(source_key(url), url, errand, ask)
    checksum.demand(sha256, copy.digest, shown)
    return copy


def source_key(url: str) -> str:
    """The name of a source: a hash of the URL without what changes with every signature."""
    parts = urlsplit(url)
    named = [(unquote(pair.partition("=")[0]).lower(), pair) for pair in parts.query.split("&")]
    volatile = [
        pattern for sign, pattern in _SIGNED_BY.items() if any(name == sign for name, _ in named)
    ]
    lasting = [
        pair for name, pair in named if not any(pattern.fullmatch(name) for pattern in volatile)
    ]
    return asking.hashed(f"{parts.scheme}://{parts.netloc}{parts.path}?{'&'.join(lasting)}")
