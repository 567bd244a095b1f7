"""Errors of fetching a slide: a class for each error code, with its default hint.

Details name a URL without its query, which may hold a key.
"""

from broker.errors import OrderError, TemporaryError


class InputNotFoundError(OrderError):
    """The slide is not at its source. Code: `input_not_found`."""

    def __init__(self, detail: str, *, hint: str = "", field: str = "") -> None:
        super().__init__("input_not_found", detail, hint=hint, field=field)


class UnknownCodingError(InputNotFoundError):
    """A server encodes its answer in a way that cannot be undone. Code: `input_not_found`."""

    def __init__(self, safe_url: str, content_encoding: str) -> None:
        super().__init__(
            f"{safe_url} answers with Content-Encoding {content_encoding[:100]!r}, "
            "which cannot be decoded",
            hint="have the server send the file as it is, or with Content-Encoding gzip or deflate",
        )


class InputExpiredError(OrderError):
    """The slide's URL has expired or is refused. Code: `input_expired`."""

    def __init__(
        self, detail: str, *, hint: str = "order again with a fresh URL, signed to allow GET"
    ) -> None:
        super().__init__("input_expired", detail, hint=hint)


class InputDiffersError(OrderError):
    """The slide's file has another SHA-256 than the order states. Code: `input_differs`."""

    def __init__(self, safe_url: str, *, actual_sha256: str, required_sha256: str) -> None:
        super().__init__(
            "input_differs",
            f"the file behind {safe_url} has the SHA-256 {actual_sha256}, "
            f"and the order asks for {required_sha256}",
            hint="check the URL and the sha256: one of them is another file's, "
            "or the file was replaced",
            field="source.sha256",
        )


class InputTooLargeError(OrderError):
    """More bytes than may be fetched for one slide. Code: `input_too_large`."""

    def __init__(
        self,
        detail: str,
        *,
        hint: str = "the operator sets worker.slides.max_slide_bytes",
        field: str = "",
    ) -> None:
        super().__init__("input_too_large", detail, hint=hint, field=field)


class InputUnreachableError(TemporaryError):
    """The slide's source does not answer, or not with the slide. Code: `input_unreachable`."""

    def __init__(self, detail: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__("input_unreachable", detail, hint=hint, retry_after_s=retry_after_s)
