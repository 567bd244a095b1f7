"""Answers every fault as problem+json (RFC 9457)."""

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.errors import CODES, Code, OrderError, Problem, SlidelaneError, TemporaryError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_UNKNOWN_CODE = Code(500, "platform", "An error that this version does not know")
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "private, no-cache"}
_log = logging.getLogger(__name__)


class Fault(BaseModel):
    """One of several faults of a request."""

    code: str
    detail: str
    field: str = Field("", description="where, like `scans[0].roi.width`")
    hint: str = Field("", description="what to do next")


class ProblemAnswer(BaseModel):
    """What every fault is answered with."""

    type: str = Field(description="a stable URI for the code")
    title: str
    status: int
    detail: str
    code: str = Field(description="stable and grep-able")
    instance: str
    field: str | None = Field(None, description="where in the request, like `scans[0].roi.width`")
    hint: str | None = Field(None, description="what to do next")
    blame: str | None = Field(None, description="`input`, `algorithm`, `platform` or `destination`")
    errors: list[Fault] | None = Field(
        None, description="all faults that were found; the first is the main one"
    )


class ManyFaultsError(OrderError):
    """Several faults of one request; the first is the main one."""

    def __init__(self, faults: Sequence[Problem]) -> None:
        main = faults[0]
        super().__init__(main.code, main.detail, hint=main.hint, field=main.field)
        self.faults = tuple(faults)


def answer(
    problem: Problem,
    instance: str,
    *,
    faults: Sequence[Problem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the problem as a response. `instance` is the path of the request, without query."""
    body = stored_problem(problem.as_dict()) | {"instance": instance}
    if faults:
        body["errors"] = [_without_blame(fault) for fault in faults]
    return JSONResponse(body, body["status"], headers, MEDIA_TYPE)


def stored_problem(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a problem as they are shown, with its type, title and status.

    A record may hold a code of a newer version, which is shown without a title.
    """
    code = CODES.get(fields["code"], _UNKNOWN_CODE)
    return {
        "type": f"urn:slidelane:problem:{fields['code']}",
        "title": code.title,
        "status": code.status,
    } | dict(fields)


def _without_blame(fault: Problem) -> dict[str, Any]:
    return {name: value for name, value in fault.as_dict().items() if name != "blame"}


def retry_after(fault: TemporaryError) -> dict[str, str]:
    """Return the Retry-After header for a fault that may pass, in whole seconds."""
    wait_s = fault.retry_after_s
    if wait_s is None:
        wait_s = RETRY_AFTER_S
    return {"retry-after": str(max(1, math.ceil(wait_s)))}


def _headers(fault: SlidelaneError) -> dict[str, str]:
    if isinstance(fault, TemporaryError):
        return retry_after(fault)
    if fault.code == "key_missing":
        return {"www-authenticate": 'Bearer realm="slidelane"'}
    if fault.code == "body_too_large":
        # The rest of the body is not read, so the connection cannot serve another request.
        return {"connection": "close"}
    return {}


async def _handle_fault(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, SlidelaneError)  # noqa: S101 - `install` registers it for this class
    faults: Sequence[Problem] = ()
    if isinstance(fault, ManyFaultsError):
        faults = fault.faults
    return answer(fault.problem, request.url.path, faults=faults, headers=_headers(fault))


async def _handle_no_route(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)  # noqa: S101 - `install` registers it for this class
    if fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = Problem("method_not_allowed", f"{request.method} is not answered here")
    else:
        problem = Problem("not_found", "there is no such address", "see /openapi.json")
    return answer(problem, request.url.path, headers=fault.headers)


class ErrorMiddleware:
    """The outermost layer: adds `HEADERS` to every answer, and answers a bug.

    The caller gets one sentence, the log gets the traceback.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = _with_headers(message)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # noqa: BLE001 - the last place where a bug can be logged and answered
            _log.exception("a bug answered %s %s", scope["method"], scope["path"])
            if started:
                return
            bug = Problem(
                "bug",
                "Slidelane made a mistake; its log has the details",
                "repeat, or tell the operator",
            )
            await answer(bug, scope["path"])(scope, receive, send_with_headers)


def _with_headers(message: Message) -> Message:
    """Return the start of a response with `HEADERS`, where it does not set them itself."""
    present = {name.lower() for name, _ in message["headers"]}
    headers = list(message["headers"])
    for name, value in HEADERS.items():
        if name.encode() not in present:
            headers.append((name.encode(), value.encode()))
    return {**message, "headers": headers}


def install(app: FastAPI) -> None:
    """Make the app answer every fault as a problem."""
    app.add_exception_handler(SlidelaneError, _handle_fault)
    app.add_exception_handler(HTTPException, _handle_no_route)
    app.add_middleware(ErrorMiddleware)
