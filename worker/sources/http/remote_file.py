"""A URL as a download asks it, and what its answers say of the content: how long, which version, which part.

Must not know what is done with the bytes. Errors name the URL without its query, which may be a key.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from broker.errors import OrderError
from broker.orders.fields import without_query
from worker.sources.http.checksum import Checksum, stated

_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{1,1000}"')
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class ConnectionLost(Exception):  # noqa: N818 - not an error yet: the transfer goes on from here
    """A connection ended before the slide did, or brought nothing."""


class ContentChanged(Exception):  # noqa: N818 - not an error yet: the transfer may start over
    """The server sends other content than it did before."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of what lies behind a URL. `validator`: what a range of it is asked with; empty if there is none."""

    total: int | None
    etag: str
    validator: str
    ranges: bool
    checksum: Checksum | None

    @classmethod
    def of(cls, response: requests.Response) -> "Version":
        """The version that a whole answer (200) begins to send."""
        headers, etag = response.headers, strong_etag(response)
        accepts = "bytes" in headers.get("Accept-Ranges", "").lower()
        return cls(
            _length(response), etag, etag or _settled_date(response), accepts, stated(headers)
        )

    def differs(self, response: requests.Response) -> bool:
        """Whether an answer says that it is of another version; one that says nothing does not."""
        given = strong_etag(response) if self.etag else response.headers.get("Last-Modified", "")
        return given not in ("", self.validator)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """The part that an answer (206) says it is, half-open, of so many bytes in all; None where it does not say."""

    start: int
    end: int
    total: int | None


def stretch(response: requests.Response) -> ContentRange | None:
    """What part an answer is; None when it is none, or does not say which."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status_code != 206 or not found:
        return None
    return ContentRange(
        int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])
    )


def strong_etag(response: requests.Response) -> str:
    """The ETag where it stands for exactly these bytes, else empty."""
    etag = response.headers.get("ETag", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else ""


class RemoteFile:
    """One URL. `shown` is how it may be told."""

    def __init__(self, http: requests.Session, url: str) -> None:
        self._http, self._url = http, url
        self.shown = without_query(url)

    def get(
        self, headers: dict[str, str], timeout_s: tuple[float, float] | None = None
    ) -> requests.Response:
        """An open answer, whatever its status. Raises `ConnectionLost` when none came, `OrderError` when none ever will."""
        try:
            return self._http.get(self._url, headers=headers, stream=True, timeout=timeout_s)
        except requests.Timeout:
            raise ConnectionLost("did not answer in time") from None
        except (ValueError, requests.TooManyRedirects):
            detail = f"{self.shown} is no URL to fetch from, or redirects to none"
            raise OrderError("input_not_found", detail) from None
        except requests.exceptions.SSLError:
            raise ConnectionLost("has a certificate that is not trusted") from None
        except (requests.RequestException, HTTPError, OSError):
            raise ConnectionLost("cannot be reached") from None


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in response.headers
    return int(value) if _LENGTH.fullmatch(value) and not chunked else None


def _settled_date(response: requests.Response) -> str:
    """Last-Modified where no later version can have the same: a second old at least (RFC 9110 8.8.2.2)."""
    modified, sent = response.headers.get("Last-Modified", ""), response.headers.get("Date", "")
    try:
        settled = parsedate_to_datetime(sent) - parsedate_to_datetime(modified) >= timedelta(
            seconds=1
        )
    except (ValueError, TypeError, OverflowError):  # no date, or only one of them has a time zone
        return ""
    return modified if settled else ""
