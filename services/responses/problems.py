"""Faults become answers: problem+json (RFC 9457), whatever went wrong. Knows no order and no store."""

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

from broker.errors import CODES, OrderError, Problem, SlidelaneError, TemporaryError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
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
    """The problem as a response. `instance` is the path that was asked for, without its query."""
    code = CODES[problem.code]
    body: dict[str, Any] = {
        "type": f"urn:slidelane:problem:{problem.code}",
        "title": code.title,
        "status": code.status,
    }
    body |= problem.as_dict() | {"instance": instance}
    if faults:
        body["errors"] = [
            {k: v for k, v in fault.as_dict().items() if k != "blame"} for fault in faults
        ]
    return JSONResponse(body, code.status, headers, MEDIA_TYPE)


def retry_after(fault: TemporaryError) -> dict[str, str]:
    """The Retry-After header of something worth another try, in whole seconds."""
    wait_s = RETRY_AFTER_S if fault.retry_after_s is None else fault.retry_after_s
    return {"retry-after": str(max(1, math.ceil(wait_s)))}


def _headers(fault: SlidelaneError) -> dict[str, str]:
    if isinstance(fault, TemporaryError):
        return retry_after(fault)
    if fault.code == "key_missing":
        return {"www-authenticate": 'Bearer realm="slidelane"'}
    # What is left of a refused body is not read: the connection cannot serve another request.
    return {"connection": "close"} if fault.code == "body_too_large" else {}


async def _told(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, SlidelaneError)  # noqa: S101 - what `install` registered it for
    faults = fault.faults if isinstance(fault, ManyFaultsError) else ()
    return answer(fault.problem, request.url.path, faults=faults, headers=_headers(fault))


async def _unrouted(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)  # noqa: S101 - what `install` registered it for
    if fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = Problem(
            "method_not_allowed", f"{request.method} is not answered here", blame="input"
        )
    else:
        problem = Problem(
            "not_found", "there is no such address", "see /openapi.json", blame="input"
        )
    return answer(problem, request.url.path, headers=fault.headers)


class Edge:
    """The outermost layer: a bug becomes one sentence outside and a trace in the log; every answer gets `HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def headed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = {name.lower() for name, _ in message["headers"]}
                extra = [
                    (k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given
                ]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self._app(scope, receive, headed)
        except Exception:  # noqa: BLE001 - the edge: whatever it is, it is logged and answered
            _log.exception("a bug answered %s %s", scope["method"], scope["path"])
            if not started:
                bug = Problem(
                    "bug",
                    "Slidelane made a mistake; its log has the details",
                    "repeat, or tell the operator",
                )
                await answer(bug, scope["path"])(scope, receive, headed)


def install(app: FastAPI) -> None:
    """Let every fault of the app be answered as a problem."""
    app.add_exception_handler(SlidelaneError, _told)
    app.add_exception_handler(HTTPException, _unrouted)
    app.add_middleware(Edge)
