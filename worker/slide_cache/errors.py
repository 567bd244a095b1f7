"""Errors of writing slides to the disk of the slide cache."""

from pathlib import Path

from broker.errors import OrderError, TemporaryError


class FileSetTooLargeError(OrderError):
    """The files of one slide are larger together than the limit. Code: `input_too_large`."""

    def __init__(self, total_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            "input_too_large",
            f"the slide's files have at least {total_bytes} bytes together; "
            f"at most {limit_bytes} fit",
            hint="the operator sets worker.slides.max_slide_bytes",
        )


class SlideCacheFullError(TemporaryError):
    """There is no room for a slide or a result on this machine. Code: `shelf_full`."""

    def __init__(self, detail: str, *, hint: str = "") -> None:
        super().__init__("shelf_full", detail, hint=hint)


class DiskFullError(SlideCacheFullError):
    """The disk of the slide cache is full, although the bytes were reserved."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the disk with {folder} is full")
