"""Answers in the form of Kue: JSON with its content type, and errors as `{"error": …}`."""

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from broker.errors import CODES, OrderError, SlidelaneError
from services.responses.problems import KUE_JSON, headers_of

_BAD_REQUEST: Final = 400
_OF_THE_BODY: Final = frozenset({"request_invalid", "key_reused"})


class KueRefusedError(OrderError):
    """What Kue itself refuses; the words are Kue's where it has some. Code: `request_invalid`."""

    def __init__(self, why: str) -> None:
        super().__init__("request_invalid", why)


class ClosedError(OrderError):
    """There is no such address: the settings name no type of job. Code: `not_found`."""

    def __init__(self) -> None:
        # The words for an address that is not there.
        super().__init__("not_found", "there is no such address", hint="see /openapi.json")


class KueRoute(APIRoute):
    """A route that answers every fault as Kue does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, whose faults become answers here."""
        handle = super().get_route_handler()

        async def handle_as_kue(request: Request) -> Response:
            try:
                return await handle(request)
            except ClosedError:
                raise
            except SlidelaneError as fault:
                return json_answer(error_of(fault), status_of(fault), headers_of(fault))

        return handle_as_kue


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON as Kue does. It is ASCII, for old clients decode it piece by piece."""
    text = json.dumps(content, separators=(",", ":"))
    return Response(text, status, dict(headers or {}) | {"content-type": KUE_JSON})


def error_of(fault: SlidelaneError) -> dict[str, str]:
    """Return what the caller reads of a fault."""
    text = fault.problem.detail
    if fault.problem.hint:
        text = f"{text}; {fault.problem.hint}"
    return {"error": text}


def status_of(fault: SlidelaneError) -> int:
    """Return the status of a fault. What is wrong with a body is 400, as Kue has it."""
    if fault.code in _OF_THE_BODY:
        return _BAD_REQUEST
    return CODES[fault.code].status
