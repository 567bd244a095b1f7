"""The errors that Slidelane knows, each with a stable code.

`OrderError`: the caller can correct it. `TemporaryError`: another try may succeed. Any other
exception is a bug. `CODES` lists every code with its HTTP status and meaning; docs/errors.md shows
the list.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Blame = Literal["input", "algorithm", "platform", "destination"]
ErrorCode = Literal[
    "request_invalid",
    "request_malformed",
    "headers_too_slow",
    "headers_too_large",
    "body_not_json",
    "body_too_slow",
    "media_type_unsupported",
    "body_too_large",
    "algorithm_unknown",
    "algorithms_not_announced",
    "parameters_invalid",
    "host_not_allowed",
    "destination_not_encrypted",
    "path_not_allowed",
    "slide_unknown",
    "labels_not_shown",
    "key_reused",
    "task_reused",
    "key_missing",
    "key_refused",
    "loopback_only",
    "foreign_origin",
    "login_needs_https",
    "too_many_logins",
    "not_found",
    "method_not_allowed",
    "range_not_satisfiable",
    "image_request_invalid",
    "not_implemented",
    "viewer_busy",
    "state_conflict",
    "not_ready",
    "upload_not_found",
    "upload_incomplete",
    "upload_offset_wrong",
    "upload_busy",
    "upload_too_large",
    "uploads_full",
    "uploads_locked",
    "too_many_uploads",
    "tus_version_unsupported",
    "too_many_connections",
    "too_many_waiting",
    "store_unreachable",
    "storage_unreachable",
    "workers_missing",
    "viewer_unavailable",
    "bug",
    "sealed_with_another_key",
    "record_unreadable",
    "result_damaged",
    "input_not_found",
    "input_differs",
    "input_expired",
    "slide_gone",
    "input_unreachable",
    "input_too_large",
    "not_a_slide",
    "slide_unreadable",
    "roi_outside_slide",
    "roi_too_large",
    "mpp_missing",
    "mpp_unfit",
    "stain_unexpected",
    "shelf_full",
    "out_of_memory",
    "worker_lost",
    "time_limit",
    "stalled",
    "algorithm_unavailable",
    "algorithm_answer_invalid",
    "algorithm_raised",
    "case_scans_differ",
    "scan_failed",
    "destination_refused",
    "destination_busy",
    "destination_unreachable",
    "delivery_unknown",
    "destination_answer_untrue",
    "parcel_invalid",
    "payload_too_large",
    "cancelled",
    "expired",
]
"""Every error code; the type checker finds one that is misspelt."""


@dataclass(frozen=True, slots=True)
class Code:
    """One error code: its HTTP status, who can correct it, and its meaning in a few words."""

    status: int
    blame: Blame
    title: str


CODES: dict[ErrorCode, Code] = {
    # a request is refused
    "request_invalid": Code(422, "input", "The request is not a valid order"),
    "request_malformed": Code(400, "input", "The request is not valid HTTP"),
    "headers_too_slow": Code(408, "input", "The headers did not arrive in time"),
    "headers_too_large": Code(431, "input", "The headers are too large"),
    "body_not_json": Code(400, "input", "The body is not JSON"),
    "body_too_slow": Code(408, "input", "The body did not arrive in time"),
    "media_type_unsupported": Code(415, "input", "The body is declared as another type"),
    "body_too_large": Code(413, "input", "The body is too large"),
    "algorithm_unknown": Code(422, "input", "No such algorithm"),
    "algorithms_not_announced": Code(503, "platform", "No worker has announced its algorithms yet"),
    "parameters_invalid": Code(422, "input", "The algorithm does not accept these parameters"),
    "host_not_allowed": Code(
        422, "input", "The host lies in private address space and is not on the list"
    ),
    "destination_not_encrypted": Code(
        422, "input", "Results and credentials would be sent in plain text"
    ),
    "path_not_allowed": Code(422, "input", "The path lies outside the allowed folders"),
    "slide_unknown": Code(422, "input", "No slide with this id is looked at"),
    "labels_not_shown": Code(403, "input", "Pictures of labels are not shown here"),
    "key_reused": Code(422, "input", "The idempotency key was used for another order"),
    "task_reused": Code(409, "input", "The task was ordered before with other scans"),
    "key_missing": Code(401, "input", "An API key is needed"),
    "key_refused": Code(403, "input", "This API key may not do that"),
    "loopback_only": Code(403, "input", "Without API keys only this machine is answered"),
    "foreign_origin": Code(403, "input", "Another web page sent the request"),
    "login_needs_https": Code(403, "input", "A browser logs in over https only"),
    "too_many_logins": Code(429, "input", "Too many logins failed"),
    "not_found": Code(404, "input", "There is nothing here"),
    "method_not_allowed": Code(405, "input", "This address does not answer that method"),
    "range_not_satisfiable": Code(416, "input", "The file has no such bytes"),
    "image_request_invalid": Code(400, "input", "The image cannot be asked for like that"),
    "not_implemented": Code(501, "input", "The image server does not offer that"),
    "viewer_busy": Code(503, "platform", "The viewer has too much to do"),
    "state_conflict": Code(409, "input", "The order's state does not allow that"),
    "not_ready": Code(409, "input", "The order has not got there yet"),
    "upload_not_found": Code(404, "input", "There is no such upload"),
    "upload_incomplete": Code(409, "input", "The upload has not come whole yet"),
    "upload_offset_wrong": Code(409, "input", "The bytes do not follow those that have come"),
    "upload_busy": Code(423, "input", "Another request writes to the upload"),
    "upload_too_large": Code(413, "input", "The upload is larger than the limit or its length"),
    "uploads_full": Code(507, "platform", "The disk has no room for the upload"),
    "uploads_locked": Code(503, "platform", "Other requests lock the folder of uploads"),
    "too_many_uploads": Code(429, "input", "The caller has too many uploads"),
    "tus_version_unsupported": Code(412, "input", "Only version 1.0.0 of tus is spoken"),
    "too_many_connections": Code(503, "platform", "Too many connections are open"),
    "too_many_waiting": Code(429, "platform", "Too many orders are waiting"),
    "store_unreachable": Code(503, "platform", "Redis does not answer"),
    "storage_unreachable": Code(503, "platform", "The storage does not answer"),
    "workers_missing": Code(503, "platform", "Nobody would work on an order"),
    "viewer_unavailable": Code(503, "platform", "The viewer of slides does not answer"),
    "bug": Code(500, "platform", "A fault in Slidelane"),
    "sealed_with_another_key": Code(500, "platform", "The order was encrypted with another key"),
    "record_unreadable": Code(500, "platform", "The record of the order is damaged"),
    "result_damaged": Code(500, "platform", "A file of the result is damaged"),
    # a scan fails: only the slide or the algorithm shows it
    "input_not_found": Code(404, "input", "The slide is not at its source"),
    "input_differs": Code(422, "input", "The slide is not the one that its checksum names"),
    "input_expired": Code(410, "input", "The slide's URL has expired or is refused"),
    "slide_gone": Code(410, "input", "The slide is no longer on this machine, or has changed"),
    "input_unreachable": Code(502, "platform", "The slide's source does not answer"),
    "input_too_large": Code(413, "input", "The slide is larger than the limit"),
    "not_a_slide": Code(422, "input", "The file is not a slide"),
    "slide_unreadable": Code(422, "input", "The slide cannot be read"),
    "roi_outside_slide": Code(422, "input", "The region lies outside the slide"),
    "roi_too_large": Code(422, "input", "The region is larger than the order allows"),
    "mpp_missing": Code(422, "input", "Nothing says how large a pixel is"),
    "mpp_unfit": Code(422, "input", "The slide is too coarse for the algorithm"),
    "stain_unexpected": Code(422, "input", "The stain is not one that the algorithm works on"),
    "shelf_full": Code(507, "platform", "The slide cache has no room"),
    "out_of_memory": Code(500, "platform", "The device or its machine ran out of memory"),
    "worker_lost": Code(500, "algorithm", "The scan lost its worker too often"),
    "time_limit": Code(500, "algorithm", "The scan took longer than its limit"),
    "stalled": Code(500, "algorithm", "The scan made no progress"),
    "algorithm_unavailable": Code(409, "algorithm", "The algorithm cannot be used as it is set up"),
    "algorithm_answer_invalid": Code(500, "algorithm", "The algorithm's answer makes no result"),
    "algorithm_raised": Code(500, "algorithm", "The algorithm failed with an error of its own"),
    "case_scans_differ": Code(
        409, "algorithm", "The scans of the case were encoded by different networks"
    ),
    "scan_failed": Code(422, "input", "A scan of the order failed"),
    # a delivery fails
    "destination_refused": Code(422, "destination", "The destination refused the results"),
    "destination_busy": Code(
        503, "destination", "The destination is busy with other results of ours"
    ),
    "destination_unreachable": Code(502, "destination", "The destination does not answer"),
    "delivery_unknown": Code(502, "destination", "Nobody can say whether the results arrived"),
    "destination_answer_untrue": Code(
        502, "destination", "The destination said yes and does not have the results"
    ),
    "parcel_invalid": Code(500, "algorithm", "The results break the destination's rules"),
    "payload_too_large": Code(413, "input", "The results are larger than may be sent"),
    # the order ends for another reason
    "cancelled": Code(409, "input", "The order was cancelled"),
    "expired": Code(410, "input", "The order expired before it was done"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as it is stored in a record and shown in an answer.

    `detail` says what is wrong with which value, `hint` what to do next. `blame` is given only
    where it is not the one that `CODES` states.
    """

    code: ErrorCode
    detail: str
    hint: str = ""
    field: str = ""
    blame: Blame | None = None

    def __post_init__(self) -> None:
        if self.blame is None:
            object.__setattr__(self, "blame", CODES[self.code].blame)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, without empty ones."""
        return {key: value for key, value in asdict(self).items() if value}


class SlidelaneError(Exception):
    """An error with a stable code.

    `blame` is given only where it is not the one that `CODES` states.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        hint: str = "",
        field: str = "",
        blame: Blame | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.field = field
        self.blame = blame or CODES[code].blame

    @property
    def problem(self) -> Problem:
        """The error as it is stored and shown."""
        return Problem(self.code, self.detail, self.hint, self.field, self.blame)


class OrderError(SlidelaneError):
    """An error that the caller can correct. The same work is never tried again."""


class TemporaryError(SlidelaneError):
    """An error after which another try may succeed.

    `retry_after_s` is the pause that the other side asked for, if it did.
    """

    def __init__(
        self, code: ErrorCode, detail: str, *, hint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(code, detail, hint=hint)
        self.retry_after_s = retry_after_s
