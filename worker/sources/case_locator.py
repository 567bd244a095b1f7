"""Where the slide of a case is.

The answer comes from the table in the settings, or from the service that the site runs for it.
"""

import json
import math
import re
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final
from urllib.parse import unquote

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
_SLIDE_FIELD: Final = "source.slide"
_FIRST_ENTRY: Final = re.compile(r"^/0(/|$)")
_SHOWN_NAMES: Final = 20
_SHOWN_CHARS: Final = 100


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


class _SeveralSlidesError(InputNotFoundError):
    """A case has several slides, and it was not said which one is meant."""

    def __init__(self, case_id: str, names: Sequence[str]) -> None:
        super().__init__(
            f"the locator knows {len(names)} slides of case {case_id!r}: {_listed(names)}",
            hint='name one of them in the source: {"type": "case", "case_id": …, "slide": NAME}; '
            "where two have the same name, order by address",
            field=_FIELD,
        )


class _OtherSlidesError(InputNotFoundError):
    """The slide that was named is none of the case."""

    def __init__(self, case_id: str, names: Sequence[str]) -> None:
        super().__init__(
            f"the locator knows no slide of this name of case {case_id!r}; "
            f"there is: {_listed(names)}",
            hint="name one of them in the source, as `slide`",
            field=_SLIDE_FIELD,
        )


def _listed(names: Sequence[str]) -> str:
    """Return file names on one line, the first twenty and how many more there are."""
    known = sorted({name for name in names if name})
    shown = [ascii(name[:_SHOWN_CHARS]) for name in known[:_SHOWN_NAMES]]
    if len(known) > _SHOWN_NAMES:
        shown.append(f"{len(known) - _SHOWN_NAMES} more")
    return ", ".join(shown) or "none with a name"


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
    slide: str | None = None,
) -> tuple[Located, float | None]:
    """Return where the slide of a case is, and its microns per pixel where the locator states them.

    `slide`: the file name of the one that is meant, for a case that may have several.

    Raise `OrderError`: `request_invalid` without a locator, `input_not_found` for an unknown case,
    an unusable answer, and several slides of which none is named, `input_unreachable` where the
    service refuses the key; `InputUnreachableError` where it does not answer.
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
        return _parse(case_id, slide, locator, answer)
    if case_id not in locator.cases:
        raise _UnknownCaseError(case_id)
    if slide is not None:
        raise InputNotFoundError(
            f"the table of cases has one slide for case {case_id!r}, without a name",
            hint="leave source.slide out",
            field=_SLIDE_FIELD,
        )
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


def _parse(
    case_id: str, slide: str | None, locator: HttpLocator, answer: Any
) -> tuple[Located, float | None]:
    if not answer:
        raise _UnknownCaseError(case_id)
    entry = _entry(case_id, slide, locator.location, answer)
    location = _value_at(_in_entry(entry, locator.location), answer)
    if not isinstance(location, str) or not location:
        raise _UnusableAnswerError(f"the locator answered no location for case {case_id!r}")
    if slide is not None and _file_name(location) != slide:
        raise _OtherSlidesError(case_id, [_file_name(location)])
    try:
        source = locator.located(case_id, location)
    except ValueError:  # its message would quote the location, which may be a presigned URL
        raise _UnusableAnswerError(
            f"the location that was answered for case {case_id!r} "
            "does not fit worker.locator.source"
        ) from None
    if locator.mpp is None:
        return source, None
    return source, _mpp(_value_at(_in_entry(entry, locator.mpp), answer))


def _entry(case_id: str, slide: str | None, pointer: str, answer: Any) -> int:
    """Return which entry of the answer is meant: 0 unless it is a list of which one is taken.

    Without a name all entries must have the same location, with one exactly one location must have
    that name. Raise `InputNotFoundError` otherwise, with the names that there are.
    """
    if not isinstance(answer, list) or not _FIRST_ENTRY.match(pointer):
        return 0
    locations = [_value_at(_in_entry(number, pointer), answer) for number in range(len(answer))]
    names = [_file_name(location) for location in locations]
    meant = locations
    if slide is not None:
        meant = [at for at, name in zip(locations, names, strict=True) if name == slide]
    if not meant:
        raise _OtherSlidesError(case_id, names)
    if any(location != meant[0] for location in meant):
        raise _SeveralSlidesError(case_id, names)
    return locations.index(meant[0])


def _in_entry(number: int, pointer: str) -> str:
    """Return the pointer with this entry of a list in place of the first one."""
    return _FIRST_ENTRY.sub(rf"/{number}\1", pointer)


def _file_name(location: Any) -> str:
    """Return the last part of a path or URL, without its query; nothing of anything else."""
    if not isinstance(location, str):
        return ""
    path = re.split(r"[?#]", location, maxsplit=1)[0]
    return unquote(re.split(r"[/\\]", path.rstrip("/"))[-1])


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
