"""A file behind a URL, and what its server says of its length, version and ranges."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import requests

from broker.orders.fields import without_query
from worker.sources.http.checksum import Checksum, stated
from worker.sources.http.content_encoding import codings
from worker.sources.http.retrying_get import TimeoutS, open_get

_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{1,1000}"')
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_ONE_SECOND: Final = timedelta(seconds=1)


class ContentChanged(Exception):  # noqa: N818 - not an error yet: the transfer may start over
    """The server sends another version of the file than before."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a remote file.

    `total_bytes`: its length, None where unknown. `etag`: its strong ETag, or empty. `validator`:
    what a range of this version is requested with (If-Range), or empty. `accepts_ranges`: whether
    the server says so. A file that is sent with a content coding has no known length and no ranges:
    those that its server may give are of the encoded bytes.
    """

    total_bytes: int | None
    etag: str
    validator: str
    accepts_ranges: bool
    checksum: Checksum | None

    @classmethod
    def from_response(cls, response: requests.Response) -> "Version":
        """Return the version that a whole answer (status 200) holds."""
        headers = response.headers
        etag = strong_etag(response)
        if codings(response):
            return cls(
                total_bytes=None,
                etag=etag,
                validator="",
                accepts_ranges=False,
                checksum=stated(headers),
            )
        return cls(
            total_bytes=content_length(response),
            etag=etag,
            validator=etag or _reliable_date(headers),
            accepts_ranges="bytes" in headers.get("Accept-Ranges", "").lower(),
            checksum=stated(headers),
        )

    def differs(self, response: requests.Response) -> bool:
        """Return whether an answer states another version; one that states none does not differ."""
        if self.etag:
            validator = strong_etag(response)
        else:
            validator = response.headers.get("Last-Modified", "")
        return validator not in ("", self.validator)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The half-open range of bytes that an answer (status 206) holds.

    `total_bytes` is None where it does not say.
    """

    start: int
    end: int
    total_bytes: int | None


class RemoteFile:
    """A URL from which a file is requested. `safe_url` is the URL without its query."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session = session
        self._url = url
        self.safe_url = without_query(url)

    def get(self, headers: Mapping[str, str], timeout_s: TimeoutS = None) -> requests.Response:
        """Return an open answer, whatever its status. Raises what `open_get` raises."""
        return open_get(self._session, self._url, headers, timeout_s)


def content_range(response: requests.Response) -> ContentRange | None:
    """Return the range that an answer holds; None where it is not partial or does not say.

    None also for a range of encoded bytes.
    """
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not found or codings(response):
        return None
    total_bytes = None if found[3] == "*" else int(found[3])
    return ContentRange(int(found[1]), int(found[2]) + 1, total_bytes)


def content_length(response: requests.Response) -> int | None:
    """Return the length of the decoded body as the headers state it; None where they do not."""
    if codings(response):
        return None
    length = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not _LENGTH.fullmatch(length):
        return None
    return int(length)


def strong_etag(response: requests.Response) -> str:
    """Return the ETag if it is a strong one, which stands for exactly these bytes.

    Else an empty text.
    """
    etag = response.headers.get("ETag", "")
    if not _STRONG_ETAG.fullmatch(etag):
        return ""
    return etag


def _reliable_date(headers: Mapping[str, str]) -> str:
    """Return Last-Modified if no later version of the file can have the same date.

    That is so if the file was at least a second old.

    RFC 9110, 8.8.2.2.
    """
    modified = headers.get("Last-Modified", "")
    sent = headers.get("Date", "")
    try:
        age = parsedate_to_datetime(sent) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):  # no date, or only one of them has a time zone
        return ""
    return modified if age >= _ONE_SECOND else ""
