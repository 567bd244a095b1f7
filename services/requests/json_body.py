"""Reads a request's body as one JSON document, within limits of time, memory and depth."""

import asyncio
import json
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from broker.errors import ErrorCode, OrderError
from broker.orders.roi import MAX_POINTS

WITHIN_S = 30.0
MAX_DEPTH = 32
MAX_VALUES = 50_000
MAX_DIGITS = 18


def refused(why: str, code: ErrorCode = "body_not_json") -> OrderError:
    """Return the error for a body that is not complete, plain JSON."""
    return OrderError(code, why, hint="send one JSON object as application/json")


def not_taken(why: str, hint: str) -> OrderError:
    """Return the error for a body that is JSON, of a kind that is not taken."""
    return OrderError("request_invalid", f"the body: {why}", hint=hint)


async def read(request: Request, max_bytes: int, within_s: float = WITHIN_S) -> bytes:
    """Return the body as sent, with at most `max_bytes` of it in memory. Raise `OrderError`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise refused(
            f"the Content-Type is {media_type[:100]!r}, not 'application/json'",
            "media_type_unsupported",
        )
    return await read_undeclared(request, max_bytes, within_s)


async def read_undeclared(request: Request, max_bytes: int, within_s: float = WITHIN_S) -> bytes:
    """Return the body as sent, whatever it is declared as. Raise `OrderError`."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:MAX_DIGITS]) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(within_s):
            return await _read_stream(request, max_bytes)
    except TimeoutError:
        raise refused(
            f"the body did not arrive whole within {within_s:g} s", "body_too_slow"
        ) from None
    except ClientDisconnect:
        raise refused("the body was cut off") from None


def is_given(request: Request) -> bool:
    """Return whether the request announces a body that is not empty."""
    if "transfer-encoding" in request.headers:
        return True
    return request.headers.get("content-length", "0") != "0"


async def _read_stream(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> OrderError:
    return OrderError(
        "body_too_large",
        f"the body is larger than {max_bytes} bytes",
        hint="services.max_body_bytes is the limit; split the order",
    )


def parse(raw: bytes) -> Any:
    """Return the JSON document.

    Raise `OrderError`: `body_not_json`, also for NaN and infinities; `body_too_large` for too many
    values; `request_invalid` for JSON with a name given twice, with too many levels, or with
    numbers that do not fit.
    """
    try:
        document = json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError as error:
        raise refused(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise refused(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _too_deep() from None
    _check_shape(document)
    return document


def _too_deep() -> OrderError:
    return not_taken(f"it is nested more than {MAX_DEPTH} deep", "send an order; none is so deep")


def _check_shape(document: Any) -> None:
    # Validation takes time for every value, and more for every wrong one.
    level = [document]
    values = 0
    for _ in range(MAX_DEPTH + 1):
        level = list(chain.from_iterable(map(_children, level)))
        values += len(level)
        if values > MAX_VALUES:
            raise OrderError(
                "body_too_large",
                f"the body holds more than {MAX_VALUES} values",
                hint=f"a region has at most {MAX_POINTS:,} points: simplify its outline; "
                "or split the order",
            )
        if not level:
            return
    raise _too_deep()


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # JSON parsers differ in which of two values with the same name they take.
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise not_taken(
                f"the name {json.dumps(name[:64])} is given twice in one object", "give it once"
            )
        members[name] = value
    return members


def _constant(name: str) -> Any:
    raise refused(f"{name} is not a JSON number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise not_taken(f"the number {text[:32]} is too large", "correct it")
    return number


def _int(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise not_taken(f"the number {text[:32]} has more than {MAX_DIGITS} digits", "correct it")
    return int(text)
