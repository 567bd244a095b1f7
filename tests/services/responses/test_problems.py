"""Whatever a request is, its error is a problem (RFC 9457)."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import CODES
from services.responses import problems
from services.responses.problems import ProblemAnswer

OrderBody = Callable[..., dict[str, Any]]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"]
PLACES = [
    "/v1/orders", "/v1/orders/{}", "/v1/orders/{}/log", "/v1/orders/{}/payload", "/v1/orders/{}/cancel",
    "/v1/orders/{}/retry", "/v1/orders/{}/deliver", "/v1/orders/x/scans/{}/results.json", "/v1/algorithms/{}",
    "/v1/queues/{}", "/docs/{}", "/{}", "/v1/{}", "/v1/orders/", "/v1/orders?cursor={}", "/v1/orders?{}",
    "/v1/orders?limit={}", "/v1/orders?state={}", "/v1/orders?algorithm={}", "/v1/orders?label.a={}",
]  # fmt: skip
NAMES = st.one_of(
    st.text(max_size=40).map(lambda text: quote(text, safe="")),
    st.sampled_from(["%", "%zz", "%ff", "%00", "..", "%2e%2e%2f", "%F0%9F", "a" * 5000, "%0d%0a", "-1"]),
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["Accept", "Range", "If-Range", "If-None-Match", "Content-Type", "Expect"]),
    st.sampled_from(["", "*/*", "text/html", "image/webp;q=x", "bytes=9-1", "application/json", '"']),
    max_size=3,
)  # fmt: skip
BODIES = st.sampled_from([b"", b"{}", b"[]", b"null", b"\xff", b'{"a":' * 50, b"x" * 30_000])


def assert_problem(answer: Any) -> None:
    """The answer is an error in the form of RFC 9457, with a code that is documented."""
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.request.method == "HEAD":
        assert answer.content == b""
        return
    problem = ProblemAnswer.model_validate(answer.json())
    assert problem.status == answer.status_code
    assert CODES[problem.code].status == problem.status  # type: ignore[index]
    assert problem.code != "bug"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(METHODS),
    place=st.sampled_from(PLACES),
    name=NAMES,
    headers=HEADERS,
    body=BODIES,
)
def test_every_error_is_a_problem(
    api: TestClient, method: str, place: str, name: str, headers: dict[str, str], body: bytes
) -> None:
    """Any method, address, query, header and body: what is not answered is explained."""
    answer = api.request(method, place.replace("{}", name), headers=headers, content=body)
    if answer.status_code >= 400:
        assert_problem(answer)


@pytest.mark.parametrize("accept", ["text/html", "image/png", "", "nonsense"])
def test_a_problem_is_one_whatever_is_accepted(api: TestClient, accept: str) -> None:
    """RFC 9110 lets a server answer what was not asked for rather than nothing."""
    answer = api.get("/v1/orders/0", headers={"Accept": accept})
    assert answer.status_code == 404
    assert_problem(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/orders", "GET, POST, HEAD"),
        ("PUT", "/v1/orders/0", "DELETE, GET, HEAD"),
        ("GET", "/v1/orders/0/cancel", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("OPTIONS", "/v1/queues", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_answered_is_told_which_are(
    api: TestClient, method: str, path: str, allowed: str
) -> None:
    """All of the address, also where two routes share it."""
    answer = api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/healthz", "/v1/orders", "/v1/algorithms/ki67", "/openapi.json", "/docs", "/metrics"]
)
def test_head_has_the_headers_of_get_and_no_body(api: TestClient, path: str) -> None:
    """As RFC 9110 asks of every server."""
    whole = api.get(path)
    head = api.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers


def test_head_of_what_is_not_there_is_a_404_without_a_body(api: TestClient) -> None:
    """With the headers of the problem; HEAD of an address that takes POST alone is a 405."""
    for path, status in (("/v1/orders/0", 404), ("/nowhere", 404), ("/v1/orders/0/cancel", 405)):
        answer = api.head(path)
        assert (answer.status_code, answer.content) == (status, b"")
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_name_that_can_be_none_is_refused_as_a_problem(api: TestClient) -> None:
    """Not in the form of the framework, which has no code and no hint."""
    answer = api.get("/v1/queues/GPU")
    assert answer.status_code == 422
    assert_problem(answer)
    assert answer.json()["field"] == "name"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "request_malformed"), (416, "range_not_satisfiable"), (418, "request_malformed"), (502, "bug")],
)  # fmt: skip
def test_an_error_of_a_library_becomes_a_problem(status: int, code: str) -> None:
    """Whatever form it has there."""
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    def answer() -> PlainTextResponse:
        return PlainTextResponse("inner words", status, {"content-range": "bytes */7"})

    told = TestClient(app).get("/")
    assert (told.json()["code"], told.status_code) == (code, CODES[code].status)  # type: ignore[index]
    assert told.headers["content-type"] == "application/problem+json"
    assert told.headers["content-range"] == "bytes */7"
    assert "inner words" not in told.text


def test_a_problem_can_be_read_as_json_by_everybody(api: TestClient) -> None:
    """Names that are not ASCII come back as they were sent."""
    answer = api.get("/v1/algorithms/" + quote("färbung"))
    assert "färbung" in json.loads(answer.content)["detail"]
