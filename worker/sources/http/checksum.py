"""Checksums of whole files, as a server states them in its headers or an order in its request.

Headers: RFC 9530, RFC 3230, and those of S3, Google and Azure storage. Where an answer has a
content coding, a server's checksum is of the encoded bytes, and an order's of the decoded file.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.sources.errors import InputDiffersError

_BASE64: Final = re.compile(r"^([A-Za-z0-9+/=]+)$")
_HEADERS: Final = (
    # header, where in it the digest stands, the algorithm; the strongest first
    ("Repr-Digest", re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):"), "sha256"),
    ("Digest", re.compile(r"(?:^|,)\s*sha-256=([A-Za-z0-9+/=]+)", re.IGNORECASE), "sha256"),
    ("x-amz-checksum-sha256", _BASE64, "sha256"),  # `…-3` would be a checksum of checksums
    ("x-goog-hash", re.compile(r"(?:^|,)\s*md5=([A-Za-z0-9+/=]+)"), "md5"),
    ("x-ms-blob-content-md5", _BASE64, "md5"),
    ("Content-MD5", _BASE64, "md5"),
)
_DIGEST_BYTES: Final = {"sha256": 32, "md5": 16}


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum that a server states.

    `algorithm` is hashlib's name, `digest` in hex, `header` the name of the header that holds it.
    """

    algorithm: str
    digest: str
    header: str


def stated(headers: Mapping[str, str]) -> Checksum | None:
    """Return the strongest checksum in the headers of a whole answer; None where there is none."""
    for header, pattern, algorithm in _HEADERS:
        found = pattern.search(headers.get(header, ""))
        if not found:
            continue
        if header == "x-goog-hash" and _is_decompressed_on_the_way(headers):
            continue  # the hash is of what Google's storage holds, not of what it sends
        digest = _decoded(found[1])
        if len(digest) == _DIGEST_BYTES[algorithm]:
            return Checksum(algorithm, digest.hex(), header)
    return None


def require(sha256: str | None, digest: str, safe_url: str) -> None:
    """Raise `InputDiffersError` where the order states another SHA-256 than the file's `digest`."""
    if sha256 is not None and sha256 != digest:
        raise InputDiffersError(safe_url, actual_sha256=digest, required_sha256=sha256)


def _is_decompressed_on_the_way(headers: Mapping[str, str]) -> bool:
    if headers.get("Content-Encoding"):
        return False
    return headers.get("x-goog-stored-content-encoding", "identity") != "identity"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
