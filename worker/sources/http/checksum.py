"""What a whole file must hash to: as its server says, in the forms of RFC 9530, RFC 3230 and the storages, or an order.

Must not know how the bytes came.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.errors import OrderError

_STATED: Final = (
    # header, where in it the digest stands, the algorithm; the strongest first
    ("Repr-Digest", re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):"), "sha256"),
    ("Digest", re.compile(r"(?:^|,)\s*sha-256=([A-Za-z0-9+/=]+)", re.IGNORECASE), "sha256"),
    (
        "x-amz-checksum-sha256",
        re.compile(r"^([A-Za-z0-9+/=]+)$"),
        "sha256",
    ),  # `…-3` is a checksum of checksums
    ("x-goog-hash", re.compile(r"(?:^|,)\s*md5=([A-Za-z0-9+/=]+)"), "md5"),
    ("x-ms-blob-content-md5", re.compile(r"^([A-Za-z0-9+/=]+)$"), "md5"),
    ("Content-MD5", re.compile(r"^([A-Za-z0-9+/=]+)$"), "md5"),
)
_DIGEST_BYTES: Final = {"sha256": 32, "md5": 16}


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a server says its file hashes to: hashlib's name of the algorithm, the digest in hex, and where it stood."""

    algorithm: str
    digest: str
    header: str


def stated(headers: Mapping[str, str]) -> Checksum | None:
    """The strongest checksum that the headers of a whole answer state of its bytes; None when there is none."""
    for header, pattern, algorithm in _STATED:
        found = pattern.search(headers.get(header, ""))
        digest = _decoded(found[1]) if found else b""
        if len(digest) == _DIGEST_BYTES[algorithm] and not (
            header == "x-goog-hash" and _unpacked(headers)
        ):
            return Checksum(algorithm, digest.hex(), header)
    return None


def _unpacked(headers: Mapping[str, str]) -> bool:
    """Whether Google's storage unpacks the object on its way: the hash is of what it stores."""
    return headers.get("x-goog-stored-content-encoding", "identity") != "identity"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def demand(sha256: str | None, digest: str, shown: str) -> None:
    """Raises `OrderError` when the order states another SHA-256 than that of the file behind the URL `shown`."""
    if sha256 not in (None, digest):
        detail = (
            f"the file behind {shown} has the SHA-256 {digest}, and the order asks for {sha256}"
        )
        hint = (
            "check the URL and the sha256: one of them is another file's, or the file was replaced"
        )
        raise OrderError("input_differs", detail, hint=hint, field="source.sha256")
