"""A stand-in for Techcyte's external results API (`python -m demo.techcyte`), as strict as its documentation.

Owns tasks, tokens and evaluations; what a results body must look like is in `demo.techcyte_rules`.
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
    """Takes results for `tasks` (task id: its scan ids). `any_task` takes every task and learns its scans.

    `jwt_token`, `api_key_id` and `api_key_secret` are made up where they are not given.
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
        method, path = request.method, request.path
        if (method, path) == ("POST", TOKEN_PATH):
            return self._token(request)
        self._authorise(request)
        match method:
            case "POST" if path.startswith(RESULTS):
                return self._results(self._known(path.removeprefix(RESULTS)), request)
            case "GET" if path.startswith(EVALUATIONS):
                task = self._known(path.removeprefix(EVALUATIONS))
                return Answer(200, [e for e in self.evaluations if e["task_id"] == task])
            case "PATCH" if path.startswith(CASE):
                return self._patch_case(self._known(path.removeprefix(CASE)), request)
        raise RefusedError(404, f"{method} {path} is not an address of this API")

    def _token(self, request: Request) -> Answer:
        form = {
            name: values[0]
            for name, values in parse_qs(request.body.decode("ascii", "replace")).items()
        }
        if form.get("grant_type") != "client_credentials":
            raise RefusedError(400, "grant_type must be client_credentials")
        given = _basic(request.headers.get("Authorization", "")) or (
            form.get("client_id"),
            form.get("client_secret"),
        )
        if given != (self.api_key_id, self.api_key_secret):
            raise RefusedError(401, "this API key is not known")
        token = secrets.token_urlsafe()
        self._tokens.add(token)
        return Answer(200, {"access_token": token, "token_type": "Bearer"})

    def _authorise(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            raise RefusedError(401, "a valid Bearer token is needed")

    def _known(self, quoted: str) -> str:
        task = plain_task(unquote(quoted))
        if self.any_task and task:
            self.tasks.setdefault(task, set())
        if task not in self.tasks:
            raise RefusedError(404, f"there is no task {task!r}")
        return task

    def _results(self, task: str, request: Request) -> Answer:
        scans = check_results(request.body)
        ids = [scan["scanId"] for scan in scans["scanResults"]]
        strangers = sorted(set(ids) - self.tasks[task])
        if strangers and not self.any_task:
            raise RefusedError(
                400, f"scans that do not belong to task {task}: {', '.join(strangers)}"
            )
        self.tasks[task].update(ids)
        for scan in scans["scanResults"]:
            self.evaluations.append(self._evaluation(task, scan, scans.get("caseResults")))
        self.completed.add(task)
        features = sum(
            len(scan.get("geojson", {}).get("features", ())) for scan in scans["scanResults"]
        )
        self.accept(
            request, {"task": task, "scans": ids, "evaluations": len(ids), "features": features}
        )
        return Answer(201, None)

    def _evaluation(self, task: str, scan: dict[str, Any], case_results: Any) -> dict[str, Any]:
        """What the case shows afterwards; the workflow is not part of it."""
        report = scan.get("results", {})
        details = {
            "report": report,
            "external_url": report.get("external_url"),
            "caseReport": case_results,
        }
        return {
            "id": str(len(self.evaluations) + 1),
            "sample_id": scan["scanId"],
            "case_id": f"case-{task}",
            "task_id": task,
            "details": {
                name: value
                for name, value in details.items()
                if name == "report" or value is not None
            },
        }

    def _patch_case(self, task: str, request: Request) -> Answer:
        given = json.loads(request.body)
        if not isinstance(given, dict) or not set(given) <= {"triage_category", "triage_score"}:
            raise RefusedError(400, "triage_category and triage_score are all that can be set")
        self.triage[task] = given
        return Answer(204)


def plain_task(task: str) -> str:
    """The task's number where `task` is the base64 of `task:NUMBER`, otherwise `task` itself."""
    try:
        kind, _, number = base64.b64decode(task, validate=True).decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return task
    return number if kind == "task" and number.isdecimal() else task


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, value = header.partition(" ")
    if scheme != "Basic":
        return None
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise RefusedError(401, "the Basic credentials cannot be read") from None
    return name, secret


if __name__ == "__main__":
    serve_alone(
        lambda port, host: TechcyteReceiver(any_task=True, port=port, host=host), CREDENTIALS
    )
