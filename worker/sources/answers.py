"""What a server's refusal means for the order: expired, not there, or worth another try.

Must not know how the transfer goes on. Texts name the URL without its query, which may be a key.
"""

import re

import requests

from broker.errors import OrderError, SlidelaneError, TemporaryError
from worker.http import read_capped, retry_after_s

_REASON_BYTES = 16384
_REASON_DEADLINE_S = 10.0
_LATER = frozenset({408, 425, 429})
_EXPIRED_CODES = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "AuthenticationFailed"})


def refusal(response: requests.Response, shown: str) -> SlidelaneError:
    """The error for any answer that is not the slide; `shown` is the URL as it may be shown."""
    status, reason = response.status_code, _reason(response)
    detail = f"{shown} answered {status}" + (f" {reason}" if reason else "")
    if status in _LATER or status >= 500:
        return TemporaryError("input_unreachable", detail, retry_after_s=retry_after_s(response))
    if status in (401, 403) or reason in _EXPIRED_CODES:
        return OrderError("input_expired", detail, hint="order again with a fresh URL, signed to allow GET")
    if status in (404, 410):
        return OrderError("input_not_found", detail, hint="check the address")
    return OrderError("input_not_found", f"{detail} instead of the slide", hint="check that a plain GET works")


def _reason(response: requests.Response) -> str:
    """The code in the error document of S3, Google or Azure storage; the rest of it may repeat the signed URL."""
    if response.status_code < 400:
        return ""
    found = re.search(rb"<Code>([A-Za-z]{1,64})</Code>", read_capped(response, _REASON_BYTES, _REASON_DEADLINE_S))
    return found[1].decode() if found else ""
