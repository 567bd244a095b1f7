"""A stand-in for Techcyte's external results API: `python -m demo.techcyte`.

Holds tasks, tokens and evaluations, and is as strict as the documentation of the API.
`demo.techcyte_rules` checks the results. It also stands for the bucket that takes debug files.
"""

import base64
import binascii
import io
import json
import secrets
import zipfile
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from demo.http_server import Answer, Request
from demo.receivers import LOOPBACK, Receiver, RefusedError, serve_alone
from demo.techcyte_rules import check_results

TOKEN_PATH = "/api/v3/token"  # noqa: S105 - an address
RESULTS = "/api/v3/external/results/"
EVALUATIONS = "/api/v3/external/case_evaluations/"
CASE = "/api/v3/external/case/"
DEBUG = "/debug/"
"""Below it a bucket takes files that are PUT with a signature in the query."""
SIGNATURE = "X-Amz-Signature"
CREDENTIALS = ("url", "jwt_token", "api_key_id", "api_key_secret")


class TechcyteReceiver(Receiver):
    """Accepts results for `tasks`, which maps the id of a task to the ids of its scans.

    With `any_task`, it accepts every task and learns its scans. A `jwt_token`, `api_key_id` or
    `api_key_secret` that is not given is random. `changes` lists the calls that were accepted and
    change something, in their order: `results TASK`, `case TASK`, `debug NAME`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Collection[str]] | None = None,
        *,
        any_task: bool = False,
        port: int = 0,
        host: str = LOOPBACK,
        jwt_token: str | None = None,
        api_key_id: str | None = None,
        api_key_secret: str | None = None,
    ) -> None:
        super().__init__(port, host)
        self.any_task = any_task
        self.tasks = {plain_task(task): set(scans) for task, scans in (tasks or {}).items()}
        self.completed: set[str] = set()
        self.evaluations: list[dict[str, Any]] = []
        self.triage: dict[str, dict[str, Any]] = {}
        self.debug_files: dict[str, bytes] = {}
        self.changes: list[str] = []
        self.tokens_made = 0
        self.jwt_token = jwt_token or secrets.token_urlsafe()
        self.api_key_id = api_key_id or secrets.token_urlsafe(8)
        self.api_key_secret = api_key_secret or secrets.token_urlsafe()
        self._tokens = {self.jwt_token}

    def expire_tokens(self) -> None:
        """Refuse every token that an API key was exchanged for until now."""
        self._tokens = {self.jwt_token}

    def debug_url(self, name: str = "debug.zip") -> str:
        """Return a presigned address to which a debug file may be PUT."""
        return f"{self.url}{DEBUG}{name}?X-Amz-Expires=3600&{SIGNATURE}=5160edDEBUG"

    def answer(self, request: Request) -> Answer:
        """Answer as the documented API does."""
        method = request.method
        path = request.path
        if (method, path) == ("POST", TOKEN_PATH):
            return self._token(request)
        if method == "PUT" and path.startswith(DEBUG):
            return self._put_debug_file(path.removeprefix(DEBUG), request)
        self._authorise(request)
        match method:
            case "POST" if path.startswith(RESULTS):
                return self._results(self._task(path.removeprefix(RESULTS)), request)
            case "GET" if path.startswith(EVALUATIONS):
                self._task(path.removeprefix(EVALUATIONS))
                return Answer(200, self.evaluations)
            case "PATCH" if path.startswith(CASE):
                return self._patch_case(self._task(path.removeprefix(CASE)), request)
        raise RefusedError(404, f"{method} {path} is not an address of this API")

    def _token(self, request: Request) -> Answer:
        fields = parse_qs(request.body.decode("ascii", "replace"))
        form = {name: values[0] for name, values in fields.items()}
        if form.get("grant_type") != "client_credentials":
            raise RefusedError(400, "grant_type must be client_credentials")
        credentials = _basic(request.headers.get("Authorization", ""))
        if credentials is None:
            credentials = (form.get("client_id", ""), form.get("client_secret", ""))
        if credentials != (self.api_key_id, self.api_key_secret):
            raise RefusedError(401, "this API key is not known")
        token = secrets.token_urlsafe()
        self._tokens.add(token)
        self.tokens_made += 1
        return Answer(200, {"access_token": token, "token_type": "Bearer"})

    def _authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            raise RefusedError(401, "a valid Bearer token is needed")

    def _task(self, quoted: str) -> str:
        task = plain_task(unquote(quoted))
        if self.any_task and task:
            self.tasks.setdefault(task, set())
        if task not in self.tasks:
            raise RefusedError(404, f"there is no task {task!r}")
        return task

    def _results(self, task: str, request: Request) -> Answer:
        results = check_results(request.body)
        scans = results["scanResults"]
        ids = [scan["scanId"] for scan in scans]
        foreign = sorted(set(ids) - self.tasks[task])
        if foreign and not self.any_task:
            raise RefusedError(
                400, f"scans that do not belong to task {task}: {', '.join(foreign)}"
            )
        self.tasks[task].update(ids)
        features = 0
        for scan in scans:
            self.evaluations.append(self._evaluation(task, scan, results.get("caseResults")))
            features += len(scan.get("geojson", {}).get("features", ()))
        self.completed.add(task)
        self.changes.append(f"results {task}")
        note = {"task": task, "scans": ids, "evaluations": len(ids), "features": features}
        self.accept(request, note)
        return Answer(201, None)

    def _evaluation(self, task: str, scan: dict[str, Any], case_results: Any) -> dict[str, Any]:
        """Return what the case shows afterwards; the workflow is not part of it.

        Ids that are numbers are integers here, although they were texts in what was posted.
        """
        report = scan.get("results", {})
        details = {"report": report}
        if report.get("external_url") is not None:
            details["external_url"] = report["external_url"]
        if case_results is not None:
            details["caseReport"] = case_results
        return {
            "id": len(self.evaluations) + 1,
            "sample_id": _integer(scan["scanId"]),
            "case_id": 55,
            "task_id": _integer(task),
            "details": details,
        }

    def _patch_case(self, task: str, request: Request) -> Answer:
        fields = json.loads(request.body)
        if not isinstance(fields, dict) or not set(fields) <= {"triage_category", "triage_score"}:
            raise RefusedError(400, "triage_category and triage_score are all that can be set")
        if not isinstance(fields.get("triage_category", ""), str):
            raise RefusedError(400, "triage_category must be a string")
        score = fields.get("triage_score", 0)
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise RefusedError(400, "triage_score must be a number")
        self.triage[task] = fields
        self.changes.append(f"case {task}")
        return Answer(204)

    def _put_debug_file(self, name: str, request: Request) -> Answer:
        """Answer as S3 does for a presigned URL: it takes no second way of signing in."""
        if not parse_qs(request.query).get(SIGNATURE):
            raise RefusedError(403, "AccessDenied")
        if "Authorization" in request.headers:
            raise RefusedError(400, "Only one auth mechanism allowed")
        if not zipfile.is_zipfile(io.BytesIO(request.body)):
            raise RefusedError(400, "this is no zip")
        self.debug_files[name] = request.body
        self.changes.append(f"debug {name}")
        return Answer(200, b"")


def plain_task(task: str) -> str:
    """Return the number where `task` is the base64 of `task:NUMBER`, otherwise `task` itself."""
    try:
        kind, _, number = base64.b64decode(task, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return task
    if kind != "task" or not number.isdecimal():
        return task
    return number


def _integer(text: str) -> int | str:
    """Return the integer that the text holds, or the text where it holds none."""
    if text.isascii() and text.isdecimal():
        return int(text)
    return text


def _basic(header: str) -> tuple[str, str] | None:
    """Return name and secret of a Basic header, or None for another. Raise `RefusedError`."""
    scheme, _, value = header.partition(" ")
    if scheme != "Basic":
        return None
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise RefusedError(401, "the Basic credentials cannot be read") from None
    return name, secret


def _for_any_task(port: int, host: str) -> TechcyteReceiver:
    return TechcyteReceiver(any_task=True, port=port, host=host)


if __name__ == "__main__":
    serve_alone(_for_any_task, CREDENTIALS)
