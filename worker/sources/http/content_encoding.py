"""Takes content codings off the bodies of answers: gzip and deflate (RFC 9110, 8.4).

Every request asks for `identity`, but a server may send another coding all the same. Lengths and
ranges in the headers of such an answer are those of the encoded bytes.
"""

import hashlib
import zlib
from typing import Any, Final, Protocol

import requests
from urllib3.exceptions import DecodeError

from broker.orders.fields import without_query
from worker.http_session import READ_BYTES
from worker.sources.errors import UnknownCodingError
from worker.sources.http.checksum import stated

_GZIP: Final = ("gzip", "x-gzip")
_DEFLATE: Final = "deflate"
# What changes no byte of a body. `aws-chunked` is how a file once came into an object store; some
# stores state it for ever.
_NO_CODINGS: Final = ("identity", "aws-chunked")
_MAX_CODINGS: Final = 3
_HEADER: Final = "Content-Encoding"
# The parameter `wbits` of zlib for each format.
_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 15
_RAW_DEFLATE_WBITS: Final = -15


class _Source(Protocol):
    def read1(self, max_bytes: int) -> bytes:
        """Return what is available, at least one byte; empty at the end."""


def codings(response: requests.Response) -> list[str]:
    """Return the content codings of an answer in the order in which they were applied."""
    names = response.headers.get(_HEADER, "").lower().split(",")
    stripped = [name.strip() for name in names]
    return [name for name in stripped if name and name not in _NO_CODINGS]


def decode(response: requests.Response) -> None:
    """Make `response.raw` yield the body without its content codings.

    Raises `UnknownCodingError` where an answer with a body that would be used has another coding.
    The body of a refusal is then left as it is.
    """
    names = codings(response)
    if not names or response.status_code in (204, 304):
        return
    known = all(name in (*_GZIP, _DEFLATE) for name in names) and len(names) <= _MAX_CODINGS
    if known:
        response.raw = DecodedBody(response, names)
    elif response.status_code < 300:
        response.close()
        header = response.headers[_HEADER]
        raise UnknownCodingError(without_query(response.url), header)


def encoded_digest(response: requests.Response) -> str:
    """Return the digest in hex of the encoded bytes, of the algorithm that the answer states.

    Empty where the answer has no content coding or states no checksum.
    """
    if isinstance(response.raw, DecodedBody):
        return response.raw.encoded_digest
    return ""


class DecodedBody:
    """The body of an answer without its content codings, to be read as urllib3's response is.

    A body that is cut or damaged raises `DecodeError`. However well it was compressed, no more of
    it is in memory than what one read returns.
    """

    def __init__(self, response: requests.Response, names: list[str]) -> None:
        self._raw = response.raw
        checksum = stated(response.headers)
        self._encoded = _EncodedBytes(self._raw, checksum.algorithm if checksum else "")
        source: _Source = self._encoded
        for name in reversed(names):
            source = _Inflated(source, name)
        self._decoded = source

    def read1(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return what is available, at least one byte; empty at the end."""
        return self._decoded.read1(max_bytes)

    @property
    def encoded_digest(self) -> str:
        """The digest in hex of the encoded bytes that were read; empty where none was needed."""
        return self._encoded.hexdigest

    @property
    def length_remaining(self) -> int | None:
        """How many encoded bytes are still to come; None where that is unknown."""
        remaining: int | None = self._raw.length_remaining
        return remaining

    def shutdown(self) -> None:
        """End the connection while another thread reads from it."""
        self._raw.shutdown()

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back to its pool."""
        self._raw.release_conn()


class _EncodedBytes:
    """The encoded bytes of an answer, hashed as they are read where `algorithm` names one."""

    def __init__(self, raw: Any, algorithm: str) -> None:
        self._raw = raw
        self._hash = hashlib.new(algorithm, usedforsecurity=False) if algorithm else None

    def read1(self, max_bytes: int) -> bytes:
        data: bytes = self._raw.read1(max_bytes)
        if self._hash is not None:
            self._hash.update(data)
        return data

    @property
    def hexdigest(self) -> str:
        if self._hash is None:
            return ""
        return self._hash.hexdigest()


class _Inflated:
    """The bytes of a source that is compressed with one coding."""

    def __init__(self, source: _Source, coding: str) -> None:
        self._source = source
        self._coding = coding
        self._pending = b""
        self._inflate: Any = None
        """None before the first byte and after each end of compressed data."""
        self._has_ended = False

    def read1(self, max_bytes: int) -> bytes:
        while True:
            data = b""
            if self._inflate is None and self._pending:
                self._begin()
            if self._inflate is not None:
                data = self._decompress(max_bytes)
            if data:
                return data
            if not self._pending:
                self._pending = self._source.read1(READ_BYTES)
                if not self._pending:
                    self._check_complete()
                    return b""

    def _begin(self) -> None:
        """Begin with the compressed data that the pending bytes begin with."""
        if self._coding in _GZIP:
            if self._has_ended:  # a member may follow, or zeros that fill up a block
                self._pending = self._pending.lstrip(b"\0")
            if self._pending:
                self._inflate = zlib.decompressobj(_GZIP_WBITS)
            return
        if self._has_ended:
            raise self._error("goes on after the end of its data")
        if len(self._pending) < 2:
            self._pending += self._source.read1(READ_BYTES)
        wbits = _RAW_DEFLATE_WBITS  # against the standard, but some servers send it
        if _has_zlib_header(self._pending):
            wbits = _ZLIB_WBITS
        self._inflate = zlib.decompressobj(wbits)

    def _decompress(self, max_bytes: int) -> bytes:
        try:
            data: bytes = self._inflate.decompress(self._pending, max_bytes)
        except zlib.error as error:
            raise self._error(f"is damaged ({error})") from None
        self._pending = self._inflate.unconsumed_tail
        if self._inflate.eof:
            self._pending = self._inflate.unused_data
            self._inflate = None
            self._has_ended = True
        return data

    def _check_complete(self) -> None:
        if self._inflate is not None:
            raise self._error("ended in the middle of its data")

    def _error(self, problem: str) -> DecodeError:
        return DecodeError(f"sends a body with {_HEADER} {self._coding} that {problem}")


def _has_zlib_header(data: bytes) -> bool:
    """Return whether data begins as RFC 1950, 2.2 says."""
    return len(data) >= 2 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
