"""What an answer that is not the slide means for the order."""

import re
from datetime import UTC, datetime
from typing import Final

import requests

from broker.errors import ErrorCode, SlidelaneError
from broker.orders.presigned_url import url_expires_at
from worker.http_session import is_retryable, read_capped, retry_after_s
from worker.sources.errors import InputExpiredError, InputNotFoundError, InputUnreachableError

_ERROR_DOCUMENT_BYTES: Final = 16384
_ERROR_DOCUMENT_DEADLINE_S: Final = 10.0
_REASON: Final = re.compile(r"[A-Za-z]{1,64}")
_REASONS_IN_DOCUMENT: Final = (
    re.compile(rb"<Code>([A-Za-z]{1,64})</Code>"),  # S3, Google and Azure storage
    re.compile(rb'"(?:reason|__type)"\s*:\s*"([A-Za-z]{1,64})"'),  # Google's JSON API
)
_SIGN_AGAIN: Final = "order again with a fresh URL, signed to allow GET"
_SIGN_FOR_REGION: Final = "sign the URL for the region and endpoint that the bucket is in"
_RESTORE: Final = "restore the slide from the archive tier, then order again"
_CODE_AND_HINT: Final[dict[str, tuple[ErrorCode, str]]] = {
    # the reason that a storage states; for any other the status decides
    "SlowDown": ("input_unreachable", ""),
    "RequestTimeout": ("input_unreachable", ""),
    "ServerBusy": ("input_unreachable", ""),
    "OperationTimedOut": ("input_unreachable", ""),
    "rateLimitExceeded": ("input_unreachable", ""),
    "userRateLimitExceeded": ("input_unreachable", ""),
    "ExpiredToken": ("input_expired", _SIGN_AGAIN),
    "InvalidToken": ("input_expired", _SIGN_AGAIN),
    "TokenRefreshRequired": ("input_expired", _SIGN_AGAIN),
    "AuthenticationFailed": ("input_expired", _SIGN_AGAIN),
    "AuthorizationQueryParametersError": ("input_expired", _SIGN_FOR_REGION),
    "AuthorizationHeaderMalformed": ("input_expired", _SIGN_FOR_REGION),
    "IllegalLocationConstraintException": ("input_not_found", _SIGN_FOR_REGION),
    "PermanentRedirect": ("input_not_found", _SIGN_FOR_REGION),
    "TemporaryRedirect": ("input_not_found", _SIGN_FOR_REGION),
    "InvalidObjectState": ("input_not_found", _RESTORE),
    "BlobArchived": ("input_not_found", _RESTORE),
}


def refusal(response: requests.Response, safe_url: str, received: str = "") -> SlidelaneError:
    """Return the error for an answer that is not the slide.

    `safe_url` is the URL without its query; `received` says how much had arrived before, if
    anything.
    """
    reason = _reason(response)
    code, hint = _CODE_AND_HINT.get(reason) or _by_status(response.status_code)
    detail = f"{safe_url} answered {response.status_code} {reason}".rstrip()
    if code == "input_unreachable":
        return InputUnreachableError(detail, retry_after_s=retry_after_s(response))
    if code == "input_expired":
        detail += _stated_expiry(response)
    if received:
        detail += f"; {received}"
    if code == "input_expired":
        return InputExpiredError(detail, hint=hint)
    return InputNotFoundError(detail, hint=hint)


def _by_status(status: int) -> tuple[ErrorCode, str]:
    if is_retryable(status):
        return "input_unreachable", ""
    if status in (401, 403):
        return "input_expired", _SIGN_AGAIN
    if status in (404, 410):
        return "input_not_found", "check the address"
    return "input_not_found", "check that a plain GET gives the slide"


def _stated_expiry(response: requests.Response) -> str:
    """Return until when the requested URL and its redirects claim to be valid.

    Empty where none does.
    """
    expiries = [url_expires_at(each.url) for each in (*response.history, response)]
    first_expiry = min((expiry for expiry in expiries if expiry), default=None)
    if not first_expiry:
        return ""
    expires_at = datetime.fromtimestamp(first_expiry, UTC)
    return f"; the URL says it is good until {expires_at:%Y-%m-%dT%H:%M:%SZ}"


def _reason(response: requests.Response) -> str:
    """Return the reason in a storage's error document.

    The rest of the document may repeat the signed URL.
    """
    if response.status_code < 300:
        return ""
    azure_reason = response.headers.get("x-ms-error-code", "")
    if _REASON.fullmatch(azure_reason):
        return azure_reason
    document = read_capped(response, _ERROR_DOCUMENT_BYTES, _ERROR_DOCUMENT_DEADLINE_S)
    for pattern in _REASONS_IN_DOCUMENT:
        found = pattern.search(document)
        if found:
            return found[1].decode()
    return ""
