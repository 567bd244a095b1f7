"""One file of an upload, open to the request that sends its bytes."""

import fcntl
import os
from threading import Lock
from typing import BinaryIO

from broker.disk_space import DISK_FULL_ERRNOS
from broker.uploads.errors import UploadsFullError, UploadTooLargeError


class UploadWriter:
    """Appends to the file. Its methods may be called from any thread.

    `offset`: how many bytes the file has; `length`: how many it will have.
    """

    def __init__(self, file: BinaryIO, length: int) -> None:
        self.length = length
        self.offset = os.fstat(file.fileno()).st_size
        self._file = file
        self._use = Lock()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is to come."""
        return self.offset >= self.length

    def lock(self) -> bool:
        """Take the file for this writer alone; return False where another one has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.offset = os.fstat(self._file.fileno()).st_size
        return True

    def check_fits(self, size_bytes: int) -> None:
        """Raise `UploadTooLargeError` for more bytes than were announced."""
        if size_bytes > self.length - self.offset:
            raise UploadTooLargeError(
                f"{self.length} bytes were announced by Upload-Length, and more came",
                hint="DELETE the upload, and create one of the right length",
            )

    def write(self, data: bytes | bytearray) -> None:
        """Append the bytes. Raise `UploadTooLargeError`, or `UploadsFullError` for a full disk."""
        self.check_fits(len(data))
        left = memoryview(data)
        with self._use:
            while left and not self._file.closed:
                try:
                    written_bytes = os.pwrite(self._file.fileno(), left, self.offset)
                except OSError as error:
                    if error.errno in DISK_FULL_ERRNOS:
                        raise UploadsFullError("the disk of the uploads is full") from None
                    raise
                self.offset += written_bytes
                left = left[written_bytes:]

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        with self._use:
            if not self._file.closed:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let others write. A write that is under way ends first."""
        with self._use:
            self._file.close()
