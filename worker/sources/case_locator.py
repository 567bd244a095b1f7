"""Where the slide of a case is: from the site's table, or from the service that the site asks.

Owns the question and the reading of its answer. Must not know whether and how the slide is then brought near.
"""

import json
import math
import re
import time
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from broker.errors import OrderError, SlidelaneError, TemporaryError
from broker.orders.fields import without_query
from broker.orders.source import Located
from broker.settings.locator import HttpLocator, Locator
from worker.http_session import cut_after, read_some, retry_after_s
from worker.progress import Progress

ANSWER_S = 30.0
_ANSWER_BYTES = 2**16
_FIELD = "source.case_id"
_LATER = frozenset({408, 425, 429})
_LEAST_MPP, _MOST_MPP = 0.01, 100.0
_OPERATOR = "check the case id; the operator compares worker.locator with what the service answers"


def locate(
    case_id: str,
    locator: Locator | None,
    http: requests.Session,
    watch: Progress,
    within_s: float = ANSWER_S,
) -> tuple[Located, float | None]:
    """Where the slide of `case_id` is, and its microns per pixel where the locator says.

    Raises `OrderError`: `input_not_found` for a case nobody knows and an answer that leads nowhere, `input_unreachable`
    where the service does not let us in. `TemporaryError`: `input_unreachable`.
    """
    if locator is None:
        hint = "give the slide's address, or have worker.locator configured"
        raise OrderError("request_invalid", "this site has no locator", hint=hint, field=_FIELD)
    if isinstance(locator, HttpLocator):
        watch.progress("locating", 0, 1)
        return _read(case_id, locator, _answer(case_id, locator, http, within_s))
    if case_id not in locator.cases:
        raise _unknown(case_id)
    return locator.cases[case_id], None


def _answer(case_id: str, locator: HttpLocator, http: requests.Session, within_s: float) -> Any:
    """The JSON that was answered; None for nothing."""
    try:
        url = locator.request_url(case_id)
    except ValueError:
        raise _unknown(case_id) from None
    shown = without_query(url)
    until = time.monotonic() + within_s
    with _get(url, locator, http, within_s) as response:
        if response.status_code in (204, 404, 410):
            return None
        if response.status_code != 200:
            raise _refusal(response, shown)
        body = _body(response, shown, until - time.monotonic())
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        raise _misled(f"{shown} answered what is not JSON") from None


def _get(
    url: str, locator: HttpLocator, http: requests.Session, within_s: float
) -> requests.Response:
    shown = without_query(url)
    headers = {"Accept": "application/json"} | {
        k: v.get_secret_value() for k, v in locator.headers.items()
    }
    query = {name: value.get_secret_value() for name, value in locator.query.items()}
    try:
        # Not to where it may redirect: the headers would go along. Headers that drip may take two silences.
        return http.get(
            url,
            params=query,
            headers=headers,
            stream=True,
            allow_redirects=False,
            timeout=within_s / 3,
        )
    except requests.Timeout:
        raise TemporaryError("input_unreachable", f"{shown} did not answer in time") from None
    except ValueError:
        raise _misled(f"{shown} is no URL to ask") from None
    except (requests.RequestException, HTTPError, OSError):
        raise TemporaryError("input_unreachable", f"{shown} cannot be reached") from None


def _refusal(response: requests.Response, shown: str) -> SlidelaneError:
    status = response.status_code
    if status in _LATER or status >= 500:
        detail = f"{shown} answered {status}"
        return TemporaryError("input_unreachable", detail, retry_after_s=retry_after_s(response))
    if status in (401, 403):
        detail = f"the locator {shown} does not let this service in ({status})"
        hint = "the operator mends the key in worker.locator.headers or worker.locator.query; the order is not to blame"
        return OrderError("input_unreachable", detail, hint=hint, field=_FIELD)
    return _misled(f"{shown} answered {status} instead of a location")


def _body(response: requests.Response, shown: str, within_s: float) -> bytes:
    body = bytearray()
    with cut_after(max(within_s, 0), response.raw.shutdown) as late:
        try:
            while len(body) <= _ANSWER_BYTES and (data := read_some(response)):
                body += data
        except (HTTPError, OSError):
            late.set()
    if len(body) > _ANSWER_BYTES:
        raise _misled(f"{shown} answered more than {_ANSWER_BYTES} bytes")
    if late.is_set() or response.raw.length_remaining:
        raise TemporaryError(
            "input_unreachable", f"{shown} cut its answer short, or took too long over it"
        )
    return bytes(body)


def _read(case_id: str, locator: HttpLocator, answer: Any) -> tuple[Located, float | None]:
    if not answer:
        raise _unknown(case_id)
    location = _one(case_id, locator.location, answer)
    if not isinstance(location, str) or not location:
        raise _misled(f"the locator answered no location for case {case_id!r}")
    try:
        source = locator.located(case_id, location)
    except ValueError:  # its own words would quote the location, which may be a presigned URL
        raise _misled(
            f"the location that was answered for case {case_id!r} does not fit worker.locator.source"
        ) from None
    return source, None if locator.mpp is None else _microns(_at(locator.mpp, answer))


def _one(case_id: str, pointer: str, answer: Any) -> Any:
    """What stands at the pointer; several answers of which it would take the first must say the same."""
    if isinstance(answer, list) and re.match(r"/0(/|$)", pointer):
        locations = [_at(f"/{index}{pointer[2:]}", answer) for index in range(len(answer))]
        if any(location != locations[0] for location in locations):
            hint = "order by address, or by a case id that stands for one slide"
            detail = f"the locator knows {len(locations)} slides of case {case_id!r}"
            raise OrderError("input_not_found", detail, hint=hint, field=_FIELD)
    return _at(pointer, answer)


def _at(pointer: str, answer: Any) -> Any:
    """What a JSON pointer (RFC 6901) leads to, or None."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(answer, dict):
            answer = answer.get(name)
        elif (
            isinstance(answer, list)
            and re.fullmatch(r"0|[1-9][0-9]{0,5}", name)
            and int(name) < len(answer)
        ):
            answer = answer[int(name)]
        else:
            return None
    return answer


def _microns(value: Any) -> float | None:
    """Microns per pixel, also as text; anything that cannot be those says nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        microns = float(value)
    except (ValueError, OverflowError):
        return None
    return microns if math.isfinite(microns) and _LEAST_MPP < microns < _MOST_MPP else None


def _unknown(case_id: str) -> OrderError:
    hint = "check the case id, or give the slide's address"
    return OrderError(
        "input_not_found", f"the locator knows no case {case_id!r}", hint=hint, field=_FIELD
    )


def _misled(detail: str) -> OrderError:
    return OrderError("input_not_found", detail, hint=_OPERATOR, field=_FIELD)
