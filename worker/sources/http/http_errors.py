"""What a server's refusal means for the order: expired, not there, or worth another try.

Must not know how the transfer goes on. Texts name the URL without its query, which may be a key.
"""

import re
from datetime import UTC, datetime
from typing import Final

import requests

from broker.errors import ErrorCode, OrderError, SlidelaneError, TemporaryError
from broker.orders.presigned_url import url_expires_at
from worker.http_session import read_capped, retry_after_s

_REASON_BYTES: Final = 16384
_REASON_DEADLINE_S: Final = 10.0
_LATER: Final = frozenset({408, 425, 429})
_NAME: Final = re.compile(r"[A-Za-z]{1,64}")
_REASON: Final = (
    re.compile(rb"<Code>([A-Za-z]{1,64})</Code>"),  # S3, Google and Azure storage
    re.compile(rb'"(?:reason|__type)"\s*:\s*"([A-Za-z]{1,64})"'),  # Google's JSON API
)
_SIGN_AGAIN: Final = "order again with a fresh URL, signed to allow GET"
_REGION: Final = "sign the URL for the region and endpoint that the bucket is in"
_ARCHIVED: Final = "restore the slide from the archive tier, then order again"
_MEANINGS: Final[dict[str, tuple[ErrorCode, str]]] = {
    # the storage's reason -> our code, and what next; for everything else the status decides
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
    "AuthorizationQueryParametersError": ("input_expired", _REGION),
    "AuthorizationHeaderMalformed": ("input_expired", _REGION),
    "IllegalLocationConstraintException": ("input_not_found", _REGION),
    "PermanentRedirect": ("input_not_found", _REGION),
    "TemporaryRedirect": ("input_not_found", _REGION),
    "InvalidObjectState": ("input_not_found", _ARCHIVED),
    "BlobArchived": ("input_not_found", _ARCHIVED),
}


def refusal(response: requests.Response, shown: str, came: str = "") -> SlidelaneError:
    """The error for any answer that is not the slide; `shown` is the URL as it may be shown, `came` what had come."""
    reason = _reason(response)
    code, hint = _MEANINGS.get(reason) or _by_status(response.status_code)
    detail = f"{shown} answered {response.status_code}" + (f" {reason}" if reason else "")
    if code == "input_unreachable":
        return TemporaryError(code, detail, retry_after_s=retry_after_s(response))
    if code == "input_expired":
        detail += _lifetime(response)
    return OrderError(code, detail + (f"; {came}" if came else ""), hint=hint)


def _by_status(status: int) -> tuple[ErrorCode, str]:
    if status in _LATER or status >= 500:
        return "input_unreachable", ""
    if status in (401, 403):
        return "input_expired", _SIGN_AGAIN
    if status in (404, 410):
        return "input_not_found", "check the address"
    return "input_not_found", "check that a plain GET gives the slide"


def _lifetime(response: requests.Response) -> str:
    """Until when the URLs that led to the answer say that they are good."""
    deaths = [url_expires_at(asked.url) for asked in (*response.history, response)]
    dies_at = min((death for death in deaths if death), default=None)
    return (
        f"; the URL says it is good until {datetime.fromtimestamp(dies_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        if dies_at
        else ""
    )


def _reason(response: requests.Response) -> str:
    """The reason in a storage's error document; the rest of the document may repeat the signed URL."""
    if response.status_code < 300:
        return ""
    named = response.headers.get("x-ms-error-code", "")
    if _NAME.fullmatch(named):
        return named
    document = read_capped(response, _REASON_BYTES, _REASON_DEADLINE_S)
    found = next((found for pattern in _REASON if (found := pattern.search(document))), None)
    return found[1].decode() if found else ""
