"""What tus 1.0.0 says of headers: https://tus.io/protocols/resumable-upload."""

import base64
import binascii
from email.utils import formatdate
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.errors import OrderError, Problem
from broker.uploads import UploadStatus
from services.responses import problems

PATH: Final = "/v1/uploads"
VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,termination,expiration"
MEDIA_TYPE: Final = "application/offset+octet-stream"
_OVERRIDDEN: Final = frozenset({"PATCH", "DELETE", "HEAD"})
_MAX_DIGITS: Final = 18
_MAX_METADATA_CHARS: Final = 4096


def _header(name: str, description: str, kind: str, *, required: bool = True) -> dict[str, Any]:
    """Return the parameter of the description in `/openapi.json`."""
    schema = {"type": kind}
    where = {"name": name, "in": "header", "required": required}
    return {**where, "schema": schema, "description": description}


_RESUMABLE: Final = _header("Tus-Resumable", f"`{VERSION}`", "string")
ANY_REQUEST: Final = {"parameters": [_RESUMABLE]}
CREATION: Final = {
    "parameters": [
        _RESUMABLE,
        _header("Upload-Length", "how many bytes the file has", "integer"),
        _header("Upload-Metadata", "`filename` and the name in Base64", "string", required=False),
    ]
}
BYTES: Final = {
    "parameters": [
        _RESUMABLE,
        _header("Upload-Offset", "how many bytes are there already", "integer"),
    ],
    "requestBody": {
        "required": True,
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
}


class Tus:
    """Middleware for the addresses of uploads: checks the version, and states ours.

    A POST with `X-HTTP-Method-Override` is the request that it names, for callers that cannot send
    PATCH or DELETE.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI call."""
        if scope["type"] != "http" or not is_upload(scope["path"]):
            await self._app(scope, receive, send)
            return
        answer = _TusAnswer(send)
        method = _method_of(scope)
        if method != "OPTIONS" and Headers(scope=scope).get("tus-resumable") != VERSION:
            problem = Problem(
                "tus_version_unsupported",
                "the header Tus-Resumable is not 1.0.0",
                "send Tus-Resumable: 1.0.0 with every request",
                "Tus-Resumable",
            )
            response = problems.answer(problem, scope["path"], headers={"tus-version": VERSION})
            await response(scope, receive, answer.send)
            return
        await self._app({**scope, "method": method}, receive, answer.send)


class _TusAnswer:
    """The answer to one request, with the headers that every answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass one message on."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            headers["tus-resumable"] = VERSION
            headers["cache-control"] = "no-store"
            message = {**message, "headers": headers.raw}
        await self._send(message)


def is_upload(path: str) -> bool:
    """Return whether an address is one of uploads."""
    return path == PATH or path.startswith(f"{PATH}/")


def _method_of(scope: Scope) -> str:
    method = str(scope["method"])
    asked = Headers(scope=scope).get("x-http-method-override", "").upper()
    # Of a POST alone: it passes the same checks as what it may stand for.
    if method == "POST" and asked in _OVERRIDDEN:
        return asked
    return method


def byte_count(headers: Headers, name: str) -> int:
    """Return a header that is a number of bytes. Raise `OrderError`."""
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise OrderError(
            "request_malformed",
            f"{name}: {text[:32]!r} is no number of bytes",
            hint=f"send {name}: N",
            field=name,
        )
    return int(text)


def metadata_of(headers: Headers) -> str:
    """Return Upload-Metadata as it was sent. Raise `OrderError` where it is too long."""
    text = headers.get("upload-metadata", "")
    if len(text) > _MAX_METADATA_CHARS:
        raise _malformed(f"it has more than {_MAX_METADATA_CHARS} characters")
    return text


def filename_of(metadata: str) -> str:
    """Return the value of `filename`, or of `relativePath` where that is given; else nothing.

    Raise `OrderError` for metadata that is not pairs of a key and a value in Base64.
    """
    values: dict[str, str] = {}
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if not key:
            continue
        if key in values:
            raise _malformed(f"the key {key[:32]!r} is given twice")
        values[key] = _decoded(value.strip())
    return values.get("relativePath") or values.get("filename", "")


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        raise _malformed("a value is not Base64") from None


def _malformed(why: str) -> OrderError:
    return OrderError(
        "request_malformed",
        f"Upload-Metadata: {why}",
        hint="send `filename` and the name in Base64; pairs are separated by commas",
        field="Upload-Metadata",
    )


def headers_of(status: UploadStatus, keep_s: float) -> dict[str, str]:
    """Return the headers that say how far an upload is."""
    return {
        "Upload-Offset": str(status.offset),
        "Upload-Expires": formatdate(status.used_at + keep_s, usegmt=True),
        "Upload-Set": status.set_id,
    }
