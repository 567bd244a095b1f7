"""Reads the body of a request into a file, whatever its length claims to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final, Protocol

_PIECE_BYTES: Final = 2**18
_LINE_BYTES: Final = 1024
_MOST_TRAILERS: Final = 100


class BodyError(Exception):
    """The body cannot be read: it is no HTTP, or ends early."""


class BodyTooLargeError(BodyError):
    """The body has more bytes than are taken."""


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


@contextmanager
def kept_body(source: _Source, headers: Message, folder: Path, limit_bytes: int) -> Iterator[Path]:
    """Yield a file in `folder` with the body; it is removed afterwards unless it was moved.

    Raise `BodyError`, and `OSError` of the disk.
    """
    with NamedTemporaryFile(prefix="body-", dir=folder, delete=False) as file:
        path = Path(file.name)
        try:
            _read_body(source, headers, file, limit_bytes)
            file.flush()
            yield path
        finally:
            path.unlink(missing_ok=True)


def _read_body(source: _Source, headers: Message, file: IO[bytes], limit_bytes: int) -> None:
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        _read_chunks(source, file, limit_bytes)
        return
    length = headers.get("Content-Length", "0")
    if not length.isdecimal():
        raise BodyError("Content-Length is no number")
    if int(length) > limit_bytes:
        raise BodyTooLargeError(f"the body has {length} bytes, and at most {limit_bytes} are taken")
    _copy(source, file, int(length))


def _read_chunks(source: _Source, file: IO[bytes], limit_bytes: int) -> None:
    total = 0
    while True:
        line = source.readline(_LINE_BYTES).partition(b";")[0].strip()
        try:
            size = int(line, 16)
        except ValueError:
            raise BodyError("a chunk has no size") from None
        if size < 0:
            raise BodyError("a chunk has no size")
        if not size:
            break
        total += size
        if total > limit_bytes:
            raise BodyTooLargeError(f"the body has more than {limit_bytes} bytes")
        _copy(source, file, size)
        source.readline(_LINE_BYTES)
    for _ in range(_MOST_TRAILERS):
        if source.readline(_LINE_BYTES).strip() == b"":
            return


def _copy(source: _Source, file: IO[bytes], size: int) -> None:
    left = size
    while left:
        piece = source.read(min(left, _PIECE_BYTES))
        if not piece:
            raise BodyError("the body ended early")
        file.write(piece)
        left -= len(piece)
