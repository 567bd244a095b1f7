"""A stand-in for Techcyte's external results API: `python -m demo.techcyte`.

Holds tasks, tokens and evaluations, and is as strict as the documentation of the API.
`demo.techcyte_rules` checks the results.
"""

import base64
import binascii
import json
import secrets
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
CREDENTIALS = ("url", "jwt_token", "api_key_id", "api_key_secret")


class TechcyteReceiver(Receiver):
    """Accepts results for `tasks`, which maps the id of a task to the ids of its scans.

    With `any_task`, it accepts every task and learns its scans. A `jwt_token`, `api_key_id` or
    `api_key_secret` that is not given is random.
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
        self.jwt_token = jwt_token or secrets.token_urlsafe()
        self.api_key_id = api_key_id or secrets.token_urlsafe(8)
        self.api_key_secret = api_key_secret or secrets.token_urlsafe()
        self._tokens = {self.jwt_token}

    def answer(self, request: Request) -> Answer:
        """Answer as the documented API does."""
        method = request.method
        path = request.path
        if (method, path) == ("POST", TOKEN_PATH):
            return self._token(request)
        self._authorise(request)
        match method:
            case "POST" if path.startswith(RESULTS):
                return self._results(self._task(path.removeprefix(RESULTS)), request)
            case "GET" if path.startswith(EVALUATIONS):
                task = self._task(path.removeprefix(EVALUATIONS))
                return Answer(200, [e for e in self.evaluations if e["task_id"] == task])
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
        note = {"task": task, "scans": ids, "evaluations": len(ids), "features": features}
        self.accept(request, note)
        return Answer(201, None)

    def _evaluation(self, task: str, scan: dict[str, Any], case_results: Any) -> dict[str, Any]:
        """Return what the case shows afterwards; the workflow is not part of it."""
        report = scan.get("results", {})
        details = {"report": report}
        if report.get("external_url") is not None:
            details["external_url"] = report["external_url"]
        if case_results is not None:
            details["caseReport"] = case_results
        return {
            "id": str(len(self.evaluations) + 1),
            "sample_id": scan["scanId"],
            "case_id": f"case-{task}",
            "task_id": task,
            "details": details,
        }

    def _patch_case(self, task: str, request: Request) -> Answer:
        fields = json.loads(request.body)
        if not isinstance(fields, dict) or not set(fields) <= {"triage_category", "triage_score"}:
            raise RefusedError(400, "triage_category and triage_score are all that can be set")
        self.triage[task] = fields
        return Answer(204)


def plain_task(task: str) -> str:
    """Return the number where `task` is the base64 of `task:NUMBER`, otherwise `task` itself."""
    try:
        kind, _, number = base64.b64decode(task, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return task
    if kind != "task" or not number.isdecimal():
        return task
    return number


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
