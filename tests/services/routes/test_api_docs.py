"""The description of the API, and the page that shows it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from broker.errors import CODES
from services.openapi import OPEN
from services.openapi_answers import ANSWERS
from services.responses.problems import ProblemAnswer

PROBLEM = "application/problem+json"
ADDRESS = re.compile(rb"""(?:href|src|url|action)\s*[=(:]\s*["']?([^"')\s]+)""")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            yield operation["operationId"], operation


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/docs/start.js",
    ],
)
def test_the_page_and_what_it_loads_need_no_key(keyed: TestClient, path: str) -> None:
    """Each with its media type, which browsers must not guess."""
    answer = keyed.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] in {
        "text/html", "application/json", "text/css", "text/javascript",
    }  # fmt: skip
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_other_host(api: TestClient) -> None:
    """Page, script and style sheet ask for paths of this API alone, and the policy forbids more."""
    page = api.get("/docs")
    loaded = [f"/{path.decode()}" for path in ADDRESS.findall(page.content) if path != b"data:,"]
    assert loaded == ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"]
    assert all(api.get(path).status_code == 200 for path in loaded)
    for path in ("/docs", "/docs/start.js"):
        assert b"//" not in re.sub(rb"(?m)^\s*//.*$", b"", api.get(path).content)
    styles = re.findall(rb"url\(([^)]{0,8})", api.get("/docs/swagger-ui.css").content)
    assert all(start.strip(b"\"'").startswith(b"data:") for start in styles)
    assert b"@import" not in api.get("/docs/swagger-ui.css").content
    policy = page.headers["content-security-policy"]
    sources = {word for part in policy.split(";") for word in part.split()[1:]}
    assert sources == {"'none'", "'self'", "data:"}
    assert "default-src 'none'" in policy


def test_the_page_holds_no_script_of_its_own(api: TestClient) -> None:
    """The policy would not let it run: scripts and styles are files, and no element has a handler."""
    page = api.get("/docs").text
    assert re.findall(r"<script[^>]*>([^<]+)</script>", page) == []
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)


@pytest.mark.parametrize("name", ["..%2fcore.py", "core.py", "redoc.standalone.js", "%00"])
def test_only_the_files_of_the_page_are_served(api: TestClient, name: str) -> None:
    """Nothing else of the package they come in."""
    answer = api.get(f"/docs/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_every_operation_has_examples_of_its_answers(api: TestClient) -> None:
    """Of its success, as its schema has it, and of every error."""
    document = api.get("/openapi.json").json()
    components = {"components": document["components"]}
    for name, operation in operations(document):
        answers = ANSWERS[name]
        if answers.status == 204:
            assert "content" not in operation["responses"]["204"]  # it has no body (RFC 9110)
            continue
        success = operation["responses"][str(answers.status)]["content"]
        assert any("example" in shown for shown in success.values()), name
        for shown in success.values():
            if "example" in shown:
                Draft202012Validator(shown["schema"] | components).validate(shown["example"])
        for status, response in operation["responses"].items():
            if not status.isdecimal() or int(status) < 400:
                continue
            shown = response["content"][PROBLEM]
            for code, example in shown["examples"].items():
                Draft202012Validator(shown["schema"] | components).validate(example["value"])
                assert example["value"]["code"] == code
                assert CODES[code].status == int(status) == example["value"]["status"]
    assert {name for name, _ in operations(document)} == set(ANSWERS)


def test_every_operation_documents_what_the_server_itself_answers(api: TestClient) -> None:
    """Broken HTTP, slow or large headers, a bug, too many connections; where a key is asked for,
    that it is missing; where something changes, that another page asked."""
    for path, methods in api.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            assert {"400", "408", "431", "500", "503"} <= statuses
            needs_key = path not in OPEN
            assert ({"401", "403"} <= statuses) == needs_key
            codes = operation["responses"].get("403", {"content": {PROBLEM: {"examples": {}}}})
            changes = method in ("post", "put", "patch", "delete") or path.startswith(
                "/kue/inactive/"
            )
            may_change = needs_key or path.startswith("/kue/")
            assert ("foreign_origin" in codes["content"][PROBLEM]["examples"]) == (
                changes and may_change
            )


def test_a_key_is_optional_where_none_is_configured(api: TestClient, keyed: TestClient) -> None:
    """A client that is made from the description does not ask for one then."""
    for client, first in ((api, {}), (keyed, {"bearer": []})):
        paths = client.get("/openapi.json").json()["paths"]
        assert paths["/v1/orders"]["get"]["security"][0] == first
        # Without a key it says whether one is needed.
        assert paths["/v1/session"]["get"]["security"][0] == {}


def test_what_to_do_next_is_described(api: TestClient) -> None:
    """Where the order is, when to try again, and with which kind of key."""
    placing = api.get("/openapi.json").json()["paths"]["/v1/orders"]["post"]["responses"]
    headers = {status: set(placing[status]["headers"]) for status in ("202", "401", "429", "503")}
    assert headers == {
        "202": {"Location"},
        "401": {"WWW-Authenticate"},
        "429": {"Retry-After"},
        "503": {"Retry-After"},
    }


def test_problems_are_described_as_they_are(api: TestClient) -> None:
    """The published schema takes what is answered."""
    ProblemAnswer.model_validate(api.get("/v1/orders/0").json())


@pytest.mark.parametrize(
    ("more", "fits"),
    [
        ({"url": "https://a.example/b.svs"}, True),
        ({"urls": ["https://a.example/b.dcm"]}, True),
        ({}, False),
        ({"url": "https://a.example/b.svs", "zip_url": "https://a.example/b.zip"}, False),
        ({"url": "ftp://a.example/b.svs"}, False),
        ({"url": "https://a.example/\u00e4.svs"}, False),
    ],
)
def test_the_schema_takes_the_sources_that_the_api_takes(
    api: TestClient, more: dict[str, Any], fits: bool
) -> None:
    """What can be said in a schema is said there, for clients that check before they send."""
    document = api.get("/openapi.json").json()
    reference = {"$ref": "#/components/schemas/OrderRequest", "components": document["components"]}
    body = {"algorithm": "ki67", "scans": [{"id": "a", "source": {"type": "url"} | more}]}
    assert Draft202012Validator(reference).is_valid(body) is fits
    assert (api.post("/v1/orders", json=body).status_code == 202) is fits
