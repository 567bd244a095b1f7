"""Errors of uploads: a class for each error code, with its hint."""

from broker.errors import OrderError, TemporaryError


class UploadNotFoundError(OrderError):
    """There is no such upload, or it is another caller's. Code: `upload_not_found`."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            "upload_not_found",
            f"there is no upload {upload_id[:64]!r}",
            hint="it was deleted, or nobody used it for services.uploads.keep_s; send it again",
        )


class UploadIncompleteError(OrderError):
    """Bytes of the upload are still to come. Code: `upload_incomplete`."""

    def __init__(self, upload_id: str, came: int, length: int) -> None:
        super().__init__(
            "upload_incomplete",
            f"of the upload {upload_id} {came} of {length} bytes are here",
            hint="HEAD its address, send the rest by PATCH, and order again",
        )


class UploadBusyError(OrderError):
    """Another request writes to the upload. Code: `upload_busy`."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            "upload_busy",
            f"another request writes to the upload {upload_id}",
            hint="wait for it to end, or end it; then HEAD, and go on",
        )


class UploadOffsetError(OrderError):
    """The bytes do not follow those that are here. Code: `upload_offset_wrong`."""

    def __init__(self, upload_id: str, given: int, offset: int) -> None:
        super().__init__(
            "upload_offset_wrong",
            f"the upload {upload_id} goes on at byte {offset}, not {given}",
            hint=f"HEAD it, and send from byte {offset} on",
            field="Upload-Offset",
        )


class UploadTooLargeError(OrderError):
    """More bytes than may be uploaded, or than were announced. Code: `upload_too_large`."""

    def __init__(self, detail: str, *, hint: str) -> None:
        super().__init__("upload_too_large", detail, hint=hint)


class UploadsFullError(TemporaryError):
    """The disk has no room for it. Code: `uploads_full`."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            "uploads_full",
            detail,
            hint="free the disk of broker.uploads, or DELETE uploads that are not needed",
            retry_after_s=60,
        )


class UploadsLockedError(TemporaryError):
    """Other requests change uploads all the time. Code: `uploads_locked`."""

    def __init__(self, within_s: float) -> None:
        super().__init__(
            "uploads_locked",
            f"other requests have locked the folder of uploads for {within_s:g} s",
            hint="try again after Retry-After; check the disk of broker.uploads if it stays so",
            retry_after_s=5,
        )
