"""Every fault of the viewer as problem+json (RFC 9457), in the words of the API."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.errors import CODES, Problem, SlidelaneError, TemporaryError

_MEDIA_TYPE: Final = "application/problem+json"
_RETRY_AFTER_S: Final = 5


def answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem as a response that nobody keeps."""
    code = CODES[problem.code]
    body: dict[str, Any] = {
        "type": f"urn:slidelane:problem:{problem.code}",
        "title": code.title,
        "status": code.status,
    }
    body |= problem.as_dict()
    content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
    all_headers = {"Cache-Control": "no-store", **dict(headers or {})}
    return Response(content, code.status, all_headers, _MEDIA_TYPE)


async def handle_fault(_request: Request, fault: Exception) -> Response:
    """Answer an error that has a code."""
    if not isinstance(fault, SlidelaneError):
        raise fault
    headers = {}
    if isinstance(fault, TemporaryError):
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    if fault.code == "key_missing":
        headers["WWW-Authenticate"] = 'Bearer realm="slidelane"'
    return answer(fault.problem, headers)


async def handle_no_route(_request: Request, fault: Exception) -> Response:
    """Answer an address or a method that there is not."""
    if isinstance(fault, HTTPException) and fault.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        problem = Problem("method_not_allowed", "this address does not answer that method")
        allowed = (fault.headers or {}).get("Allow", "GET, HEAD").split(", ")
        return answer(problem, {"Allow": ", ".join(sorted(allowed))})
    return answer(Problem("not_found", "there is no such address"))


async def handle_bug(_request: Request, _fault: Exception) -> Response:
    """Answer a fault of ours without its details; the HTTP server logs them."""
    return answer(Problem("bug", "the viewer failed; its log has the details"))
