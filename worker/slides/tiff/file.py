"""A TIFF as tifffile reads it: bounded, and with one kind of error."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from broker.errors import OrderError
from worker.slides.errors import UnreadableTiffError

_DIRECTORY_BYTES: Final = 64 * 2**20  # a slide of 200,000 x 200,000 px needs 13 MB
_MESSAGE_CHARS: Final = 200
# What tifffile and imagecodecs raise on damaged files, because they trust the types and counts that
# a file claims.
_DECODING_ERRORS: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


class LimitedFile(io.FileIO):
    """The file as tifffile reads it: its directories, and no more of them than a slide needs."""

    _remaining_bytes = _DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Do as `FileIO.read`. Raises `UnreadableSlideError` beyond the limit."""
        limit = self._remaining_bytes + 1
        if size is not None and size >= 0:
            limit = min(size, limit)
        data = super().read(limit)
        self._count(len(data))
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Do as `FileIO.readinto`. Raises `UnreadableSlideError` beyond the limit."""
        self._count(memoryview(buffer).nbytes)
        return super().readinto(buffer)

    def _count(self, size_bytes: int) -> None:
        if size_bytes > self._remaining_bytes:
            raise UnreadableTiffError(f"its directories are larger than {_DIRECTORY_BYTES} bytes")
        self._remaining_bytes -= size_bytes


@contextmanager
def tiff_errors() -> Iterator[None]:
    """Raise errors of tifffile and its codecs as `UnreadableSlideError`."""
    try:
        yield
    except OrderError:
        raise
    except MemoryError:
        raise UnreadableTiffError("its tiles need more memory than a decoder may use") from None
    except _DECODING_ERRORS as error:
        raise UnreadableTiffError(_describe(error)) from error


def _describe(error: Exception) -> str:
    """Return the error's class and the beginning of its message, on one line."""
    name = type(error).__name__
    message = " ".join(str(error).split())[:_MESSAGE_CHARS]
    if not message:
        return name
    return f"{name}: {message}"
