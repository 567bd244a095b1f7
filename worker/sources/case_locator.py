"""Where the slide of a case is.

The answer comes from the table in the settings, or from the service that the site runs for it.
"""

import json
import math
import re
import time
from contextlib import closing
from typing import Any, Final

import requests

from broker.errors import OrderError, SlidelaneError
from broker.orders.fields import COARSEST_MPP, FINEST_MPP, without_query
from broker.orders.source import Located
from broker.settings.locator import HttpLocator, Locator
from worker.http_session import is_retryable, retry_after_s
from worker.progress import Progress
from worker.sources.errors import InputNotFoundError, InputUnreachableError, UnknownCodingError
from worker.sources.http.retrying_get import ConnectionLost, open_get, read_body

ANSWER_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 2**16
_FIELD: Final = "source.case_id"


class _UnknownCaseError(InputNotFoundError):
    def __init__(self, case_id: str) -> None:
        super().__init__(
            f"the locator knows no case {case_id!r}",
            hint="check the case id, or give the slide's address",
            field=_FIELD,
        )


class _UnusableAnswerError(InputNotFoundError):
    """The service answered, and not with a location."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            detail,
            hint="check the case id; the operator compares worker.locator "
            "with what the service answers",
            field=_FIELD,
        )


class _KeyRefusedError(OrderError):
    """The service refuses the key that is configured for it. Code: `input_unreachable`."""

    def __init__(self, safe_url: str, status: int) -> None:
        super().__init__(
            "input_unreachable",
            f"the locator {safe_url} does not let this service in ({status})",
            hint="the operator corrects the key in worker.locator.headers or worker.locator.query; "
            "the order is not to blame",
            field=_FIELD,
        )


def locate(
    case_id: str,
    locator: Locator | None,
    session: requests.Session,
    progress: Progress,
    within_s: float = ANSWER_S,
) -> tuple[Located, float | None]:
    """Return where the slide of a case is, and its microns per pixel where the locator states them.

    Raise `OrderError`: `request_invalid` without a locator, `input_not_found` for an unknown case
    and an unusable answer, `input_unreachable` where the service refuses the key;
    `InputUnreachableError` where it does not answer.
    """
    if locator is None:
        raise OrderError(
            "request_invalid",
            "this site has no locator",
            hint="give the slide's address, or have worker.locator configured",
            field=_FIELD,
        )
    if isinstance(locator, HttpLocator):
        progress.report("locating", 0, 1)
        answer = _request(case_id, locator, session, within_s)
        return _parse(case_id, locator, answer)
    if case_id not in locator.cases:
        raise _UnknownCaseError(case_id)
    return locator.cases[case_id], None


def _request(case_id: str, locator: HttpLocator, session: requests.Session, within_s: float) -> Any:
    """Return the JSON that the service answers; None for an empty answer."""
    try:
        url = locator.request_url(case_id)
    except ValueError:
        raise _UnknownCaseError(case_id) from None
    safe_url = without_query(url)
    deadline = time.monotonic() + within_s
    with _get(url, locator, session, within_s) as response:
        if response.status_code in (204, 404, 410):
            return None
        if response.status_code != 200:
            raise _refusal(response, safe_url)
        body = _body(response, safe_url, deadline)
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _UnusableAnswerError(f"{safe_url} answered what is not JSON") from None


def _get(
    url: str, locator: HttpLocator, session: requests.Session, within_s: float
) -> requests.Response:
    safe_url = without_query(url)
    headers = {name: value.get_secret_value() for name, value in locator.headers.items()}
    query = {name: value.get_secret_value() for name, value in locator.query.items()}
    try:
        return open_get(
            session,
            url,
            {"Accept": "application/json"} | headers,
            within_s / 3,  # headers that arrive slowly may take twice that
            query=query,
            follow_redirects=False,  # they would receive the headers with the key
        )
    except ConnectionLost as lost:
        raise InputUnreachableError(f"{safe_url} {lost}") from None
    except UnknownCodingError as error:
        raise _UnusableAnswerError(error.detail) from None
    except InputNotFoundError:
        raise _UnusableAnswerError(f"{safe_url} is no URL to ask") from None


def _refusal(response: requests.Response, safe_url: str) -> SlidelaneError:
    status = response.status_code
    if is_retryable(status):
        return InputUnreachableError(
            f"{safe_url} answered {status}", retry_after_s=retry_after_s(response)
        )
    if status in (401, 403):
        return _KeyRefusedError(safe_url, status)
    return _UnusableAnswerError(f"{safe_url} answered {status} instead of a location")


def _body(response: requests.Response, safe_url: str, deadline: float) -> bytes:
    remaining_s = max(deadline - time.monotonic(), 0)
    body = bytearray()
    try:
        with closing(read_body(response, _MAX_ANSWER_BYTES + 1, remaining_s)) as chunks:
            for data in chunks:
                body += data
        complete = not response.raw.length_remaining
    except ConnectionLost:
        complete = False
    if len(body) > _MAX_ANSWER_BYTES:
        raise _UnusableAnswerError(f"{safe_url} answered more than {_MAX_ANSWER_BYTES} bytes")
    if not complete:
        raise InputUnreachableError(f"{safe_url} cut its answer short, or took too long over it")
    return bytes(body)


def _parse(case_id: str, locator: HttpLocator, answer: Any) -> tuple[Located, float | None]:
    if not answer:
        raise _UnknownCaseError(case_id)
    location = _unique_value(case_id, locator.location, answer)
    if not isinstance(location, str) or not location:
        raise _UnusableAnswerError(f"the locator answered no location for case {case_id!r}")
    try:
        source = locator.located(case_id, location)
    except ValueError:  # its message would quote the location, which may be a presigned URL
        raise _UnusableAnswerError(
            f"the location that was answered for case {case_id!r} "
            "does not fit worker.locator.source"
        ) from None
    if locator.mpp is None:
        return source, None
    return source, _mpp(_value_at(locator.mpp, answer))


def _unique_value(case_id: str, pointer: str, answer: Any) -> Any:
    """Return the value at a JSON pointer.

    Where the pointer takes the first of a list, all entries of the list must hold the same value.
    Raise `InputNotFoundError` otherwise.
    """
    if isinstance(answer, list) and re.match(r"/0(/|$)", pointer):
        rest = pointer.removeprefix("/0")
        locations = [_value_at(f"/{index}{rest}", answer) for index in range(len(answer))]
        if any(location != locations[0] for location in locations):
            raise InputNotFoundError(
                f"the locator knows {len(locations)} slides of case {case_id!r}",
                hint="order by address, or by a case id that stands for one slide",
                field=_FIELD,
            )
    return _value_at(pointer, answer)


def _value_at(pointer: str, document: Any) -> Any:
    """Return the value at a JSON pointer (RFC 6901), None where there is none."""
    value = document
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,5}", name):
            index = int(name)
            if index >= len(value):
                return None
            value = value[index]
        else:
            return None
    return value


def _mpp(value: Any) -> float | None:
    """Return microns per pixel from a number or a text; None for anything that cannot be those."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        mpp = float(value)
    except (ValueError, OverflowError):
        return None
    if math.isfinite(mpp) and FINEST_MPP < mpp < COARSEST_MPP:
        return mpp
    return None
