"""Answers every fault as problem+json (RFC 9457)."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.disk_space import full_disk
from broker.errors import CODES, Code, OrderError, Problem, SlidelaneError, TemporaryError
from services import secret_paths

MEDIA_TYPE = "application/problem+json"
KUE_JSON = "application/json; charset=utf-8"
"""What clients of Kue are answered with, also where something is wrong."""
RETRY_AFTER_S = 5
_UNKNOWN_CODE = Code(500, "platform", "An error that this version does not know")
HEADERS = {"x-content-type-options": "nosniff", "cache-control": "private, no-cache"}
REPORT = "repeat, or tell the operator"
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
    body = body_of(problem, instance, faults)
    return JSONResponse(body, body["status"], HEADERS | dict(headers or {}), MEDIA_TYPE)


def body_of(problem: Problem, instance: str, faults: Sequence[Problem] = ()) -> dict[str, Any]:
    """Return the problem as JSON (RFC 9457), with all faults of a request that has several."""
    body = stored_problem(problem.as_dict()) | {"instance": secret_paths.shown(instance)}
    if faults:
        body["errors"] = [_without_blame(fault) for fault in faults]
    return body


def faults_of(fault: SlidelaneError) -> Sequence[Problem]:
    """Return all faults of a request that has several; nothing for any other error."""
    if isinstance(fault, ManyFaultsError):
        return fault.faults
    return ()


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


def headers_of(fault: SlidelaneError) -> dict[str, str]:
    """Return the headers that say what to do next."""
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
    problem = _with_full_disk(fault.problem, getattr(request.app.state, "folders", ()))
    return answer(problem, request.url.path, faults=faults_of(fault), headers=headers_of(fault))


def _with_full_disk(problem: Problem, folders: Iterable[Path]) -> Problem:
    """Return the problem with the cause of a Redis that ended because its disk is full."""
    if problem.code != "store_unreachable":
        return problem
    full = full_disk(folders)
    if not full:
        return problem
    return replace(problem, detail=f"{full}; {problem.detail}")


async def _handle_no_route(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, HTTPException)  # noqa: S101 - `install` registers it for this class
    headers: Mapping[str, str] = fault.headers or {}
    if fault.status_code == HTTPStatus.NOT_FOUND:
        problem = Problem("not_found", "there is no such address", "see /openapi.json")
    elif fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_methods_here(request))}
        problem = Problem(
            "method_not_allowed",
            f"{request.method} is not answered here",
            f"use one of {headers['allow']}",
        )
    else:
        problem = _problem_for(fault.status_code, fault.detail)
    return answer(problem, request.url.path, headers=headers)


def _methods_here(request: Request) -> list[str]:
    """Return the methods that the address of the request answers.

    Starlette names those of one route, also where two routes share the address.
    """
    allowed = []
    for method in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            allowed.append(method)
    if "GET" in allowed and "HEAD" not in allowed:
        allowed.append("HEAD")
    return allowed


async def _handle_invalid(request: Request, fault: Exception) -> JSONResponse:
    assert isinstance(fault, RequestValidationError)  # noqa: S101 - `install` registers it for this class
    faults = []
    for error in fault.errors():
        field = str(error["loc"][-1])
        text = f"{field}: {error['msg']}"
        faults.append(Problem("request_invalid", text, "see /openapi.json", field, "input"))
    return await _handle_fault(request, ManyFaultsError(faults))


def _problem_for(status: int, detail: str) -> Problem:
    """Return the problem for an error that a library has answered in a form of its own."""
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        hint = "Content-Range says how many bytes there are"
        return Problem("range_not_satisfiable", detail, hint)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem("request_malformed", detail, "see /openapi.json")
    return Problem("bug", "Slidelane made a mistake; its log has the details", REPORT)


class ErrorMiddleware:
    """The outermost layer: adds `HEADERS` to every answer, and answers a bug.

    The caller gets one sentence, the log gets the traceback. An error that a library answers in a
    form of its own becomes a problem.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        outgoing = _Answer(scope["path"], send)
        try:
            await self._app(scope, receive, outgoing.send)
        except Exception:  # noqa: BLE001 - the last place where a bug can be logged and answered
            _log.exception(
                "a bug answered %s %s", scope["method"], secret_paths.shown(scope["path"])
            )
            if not outgoing.has_started:
                bug = _problem_for(HTTPStatus.INTERNAL_SERVER_ERROR, "")
                await answer(bug, scope["path"])(scope, receive, send)


class _Answer:
    """What is sent for one request."""

    def __init__(self, path: str, send: Send) -> None:
        self._path = path
        self._send = send
        self._is_replaced = False
        self.has_started = False

    async def send(self, message: Message) -> None:
        """Pass one message of the application on, or send a problem in its place."""
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(raw=list(message["headers"]))
            if message["status"] >= HTTPStatus.BAD_REQUEST:
                self._is_replaced = headers.get("content-type") not in (MEDIA_TYPE, KUE_JSON)
            if self._is_replaced:
                await self._send_problem(message["status"], headers)
                return
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
        if not self._is_replaced:
            await self._send(message)

    async def _send_problem(self, status: int, headers: Headers) -> None:
        kept = {name: headers[name] for name in ("content-range",) if name in headers}
        response = answer(
            _problem_for(status, _detail_of(status, headers)), self._path, headers=kept
        )
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
        await self._send(start)
        await self._send({"type": "http.response.body", "body": response.body})


def _detail_of(status: int, headers: Headers) -> str:
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        size = headers.get("content-range", "").rpartition("/")[2]
        return f"the file has {size} bytes, and none in the range that was asked for"
    return "a header of the request is not understood, Range perhaps"


def install(app: FastAPI) -> None:
    """Make the app answer every fault as a problem."""
    app.add_exception_handler(SlidelaneError, _handle_fault)
    app.add_exception_handler(HTTPException, _handle_no_route)
    app.add_exception_handler(RequestValidationError, _handle_invalid)
    app.add_middleware(ErrorMiddleware)
