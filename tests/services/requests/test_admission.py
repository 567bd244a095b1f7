"""What the API refuses when an order is placed, and with which message."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import OrderError
from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.requests import json_body
from services.requests.admission import _check_path
from services.requests.order_validation import order_of

OrderBody = Callable[..., dict[str, Any]]
SECRET = "s3cret-t0ken"


def source(**fields: Any) -> list[dict[str, Any]]:
    return [{"id": "a", "source": fields}]


def roi(**fields: int) -> list[dict[str, Any]]:
    box = {"x": 0, "y": 0, "width": 10, "height": 10} | fields
    return [{"id": "a", "source": {"type": "path", "path": "/slides/a.svs"}, "roi": box}]


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"scans": roi(width=0)}, "request_invalid", "scans[0].roi.width"),
        ({"scans": roi(x=-(2**31))}, "request_invalid", "scans[0].roi.x"),
        ({"scans": roi(x=2**31)}, "request_invalid", "scans[0].roi.x"),
        ({"scans": roi(depth=3)}, "request_invalid", "scans[0].roi.depth"),
        ({"scans": []}, "request_invalid", "scans"),
        ({"scans": source(type="url")}, "request_invalid", "scans[0].source"),
        (
            {"scans": source(type="url", url="ftp://example.org/a")},
            "request_invalid",
            "scans[0].source.url",
        ),
        ({"scans": source(type="magnet")}, "request_invalid", "scans[0].source"),
        (
            {"destination": {"type": "annotation", "url": "https://a.example.org"}},
            "request_invalid",
            "destination.case_id",
        ),
        ({"destination": {"type": "techcyte"}}, "request_invalid", "destination.task_id"),
        ({"labels": {"no spaces": "x"}}, "request_invalid", 'labels["no spaces"]'),
        ({"priority": "asap"}, "request_invalid", "priority"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "request_invalid", "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "request_invalid", "expires_at"),
        ({"algorithm": "her2"}, "algorithm_unknown", "algorithm"),
        (
            {"parameters": {"positive_threshold": 2}},
            "parameters_invalid",
            "parameters.positive_threshold",
        ),
        ({"parameters": {"sizes": [1, "two"]}}, "parameters_invalid", "parameters.sizes[1]"),
        ({"parameters": {"treshold": 0.1}}, "parameters_invalid", "parameters.treshold"),
        (
            {"scans": source(type="url", url="http://169.254.169.254/latest")},
            "host_not_allowed",
            "scans[0].source.url",
        ),
        (
            {"scans": source(type="path", path="/slides/../etc/passwd")},
            "path_not_allowed",
            "scans[0].source.path",
        ),
        (
            {"scans": source(type="path", path="slides/a.svs")},
            "path_not_allowed",
            "scans[0].source.path",
        ),
        (
            {"scans": source(type="path", path="/slidesx/a.svs")},
            "path_not_allowed",
            "scans[0].source.path",
        ),
        (
            {"destination": {"type": "annotation", "url": "http://10.0.0.1/x", "case_id": "c"}},
            "host_not_allowed",
            "destination.url",
        ),
        (
            {
                "destination": {
                    "type": "techcyte",
                    "host": "192.168.1.5:99",
                    "task_id": "t",
                    "jwt_token": SECRET,
                }
            },
            "host_not_allowed",
            "destination.host",
        ),
        (
            {
                "destination": {
                    "type": "techcyte",
                    "base_url": "http://[::1]/",
                    "task_id": "t",
                    "jwt_token": SECRET,
                }
            },
            "host_not_allowed",
            "destination.base_url",
        ),
        (
            {"destination": {"type": "annotation", "url": "http://8.8.8.8/x", "case_id": "c"}},
            "destination_not_encrypted",
            "destination.url",
        ),
        (
            {
                "destination": {
                    "type": "techcyte",
                    "base_url": "http://lab.example.org",
                    "task_id": "t",
                    "jwt_token": SECRET,
                }
            },
            "destination_not_encrypted",
            "destination.base_url",
        ),
        (
            {
                "destination": {
                    "type": "techcyte",
                    "base_url": f"https://me:{SECRET}@lab.example.org",
                    "task_id": "t",
                    "jwt_token": SECRET,
                }
            },
            "request_invalid",
            "destination.base_url",
        ),
    ],
)
def test_a_wrong_order_is_refused_with_code_and_field(
    api: TestClient, order_body: OrderBody, more: dict[str, Any], code: str, field: str
) -> None:
    """422 naming the field as a path; nothing is kept."""
    answer = api.post("/v1/orders", json=order_body(**more))
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (422, code, field)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance"} <= set(told)
    assert api.get("/v1/orders").json()["orders"] == []


def test_every_fault_is_listed_and_the_first_is_the_main_one(
    api: TestClient, order_body: OrderBody
) -> None:
    """A caller mends an order in one round; what was wrong is quoted."""
    told = api.post(
        "/v1/orders", json=order_body(scans=roi(width=0, height=-5), priority="asap")
    ).json()
    assert [fault["field"] for fault in told["errors"]] == [
        "scans[0].roi.width",
        "scans[0].roi.height",
        "priority",
    ]
    assert told["field"] == "scans[0].roi.width"
    assert "it is -5" in told["errors"][1]["detail"]
    assert 'it is "asap"' in told["errors"][2]["detail"]


@pytest.mark.parametrize(
    "more",
    [
        {"scans": source(type="url", url=f"http://user:{SECRET}/x@host/a")},
        {"scans": source(type="url", url=f"ftp://host/a?sig={SECRET}")},
        {"scans": source(type="url", url=f"http://[{SECRET}]/")},
        {"scans": source(type="url", url="http://host/" + SECRET * 1000)},
        {"scans": source(type="path", path="/slides/a", url=f"http://h/?{SECRET}")},
        {
            "destination": {
                "type": "techcyte",
                "host": f"u:{SECRET}@h",
                "task_id": "t",
                "jwt_token": SECRET,
            }
        },
        {
            "destination": {
                "type": "techcyte",
                "host": "h.example.org",
                "task_id": 5,
                "jwt_token": SECRET,
            }
        },
        {
            "destination": {
                "type": "techcyte",
                "host": "h.example.org",
                "task_id": "t",
                "jwt_token": [SECRET],
            }
        },
        {"destination": {"type": "none", "id": SECRET}},
        {"token": SECRET},
        {"scans": source(type="url", url=f"http://10.0.0.1/a?sig={SECRET}")},
    ],
)
def test_a_refusal_repeats_no_secret(
    api: TestClient, order_body: OrderBody, more: dict[str, Any]
) -> None:
    """Neither a URL nor a token nor what stands in a field that does not belong there is quoted."""
    answer = api.post("/v1/orders", json=order_body(**more))
    assert answer.status_code == 422
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff{}",
        b"[]",
        b'"a"',
        b'{"algorithm": "ki67", "algorithm": "grid"}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 5000,
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"algorithm": "\\ud800"}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_not_one_plain_json_object_is_refused(api: TestClient, body: bytes) -> None:
    """Truncated, twice named, infinite, bottomless or wrongly encoded: an answer, and never a fault
    of ours."""
    answer = api.post("/v1/orders", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("body_not_json", "request_invalid")


def test_a_body_of_very_many_values_is_refused_at_once() -> None:
    """A hundred thousand empty scans are not judged one by one."""
    with pytest.raises(OrderError, match="more than 50000 values") as caught:
        order_of(json_body.parse(b'{"scans": [' + b"{}," * 100_000 + b"{}]}"))
    assert caught.value.code == "body_too_large"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a": 1, "a": 2}', "request_invalid"),
        (b'{"a": 1e999}', "request_invalid"),
        (b'{"a": 12345678901234567890}', "request_invalid"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "request_invalid"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "request_invalid"),
        (b'{"a": NaN}', "body_not_json"),
        (b'{"a": 1', "body_not_json"),
    ],
)
def test_only_what_is_no_json_is_called_so(body: bytes, code: str) -> None:
    """JSON that is not taken is an invalid request, and the detail says why."""
    with pytest.raises(OrderError) as caught:
        order_of(json_body.parse(body))
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


def test_a_polygon_of_far_too_many_points_is_too_large_and_not_malformed(
    order_body: OrderBody,
) -> None:
    """20,000 points are JSON; the hint names how many a region may have."""
    scans = roi()
    scans[0]["roi"] = {"polygon": [[n, n * n] for n in range(20_000)]}
    with pytest.raises(OrderError) as caught:
        order_of(json_body.parse(json.dumps(order_body(scans=scans)).encode()))
    assert caught.value.code == "body_too_large"
    assert "at most 10,000 points" in caught.value.hint


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_whatever_stands_in_an_order_is_read_or_refused(order_body: OrderBody, value: Any) -> None:
    """No JSON value in any place raises anything but an `OrderError`."""
    for name in ("algorithm", "parameters", "scans", "destination", "expires_at", "labels"):
        raw = json.dumps(order_body(**{name: value})).encode()
        with suppress(OrderError):
            order_of(json_body.parse(raw))


def test_a_body_that_does_not_call_itself_json_is_refused(
    api: TestClient, order_body: OrderBody
) -> None:
    """Pages elsewhere can make a browser send text; they cannot make it say application/json
    unasked."""
    answer = api.post(
        "/v1/orders", content=json.dumps(order_body()), headers={"Content-Type": "text/plain"}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_unsupported")


def test_a_body_over_the_limit_is_refused(api: TestClient, order_body: OrderBody) -> None:
    """413 by the announced length alone."""
    answer = api.post("/v1/orders", json=order_body(labels={"a": "x" * 20_000}))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_before_a_worker_came_the_caller_is_asked_to_wait(
    config: Any, store: OrderStore, order_body: OrderBody
) -> None:
    """503 with Retry-After: nothing is wrong with the order."""
    api = TestClient(
        create_app(config, store), base_url="http://localhost", client=("127.0.0.1", 1)
    )
    answer = api.post("/v1/orders", json=order_body())
    assert (answer.status_code, answer.json()["code"]) == (503, "algorithms_not_announced")
    assert answer.headers["retry-after"] == "5"


def test_a_listed_private_host_is_allowed(api: TestClient, order_body: OrderBody) -> None:
    """`broker.allow_hosts` opens exactly what it names."""
    scans = source(type="url", url="http://127.0.0.1:8123/a.svs")
    assert api.post("/v1/orders", json=order_body(scans=scans)).status_code == 202


def test_a_path_is_judged_by_its_letters(api: TestClient, order_body: OrderBody) -> None:
    """The API does not say whether the file exists."""
    scans = source(type="path", path="/slides/x/../not/there.svs")
    assert api.post("/v1/orders", json=order_body(scans=scans)).status_code == 202


def test_a_root_and_an_order_may_write_the_same_letters_differently() -> None:
    """A Mac writes `ä` as letter and accent; both are the same folder, and others are not."""
    composed, decomposed = "/Pr\u00e4parate", "/Pra\u0308parate"
    for root, path in ((composed, decomposed), (decomposed, composed)):
        _check_path(f"{path}/a.svs", [Path(root)], "path")
        with pytest.raises(OrderError):
            _check_path("/Praparate/a.svs", [Path(root)], "path")


def test_a_path_that_is_not_allowed_is_told_which_folders_are(
    api: TestClient, config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """The folders of worker.slides.roots, or that there are none."""
    body = order_body(scans=source(type="path", path="/etc/passwd"))
    assert "below /slides," in api.post("/v1/orders", json=body).json()["hint"]
    for roots, told in (
        ([], "no folder is allowed yet"),
        ([f"/slides/{number}" for number in range(10)], "/slides/7 and 2 more"),
    ):
        site = load(**config.model_dump() | {"worker": {"slides": {"roots": roots}}})
        other = TestClient(
            create_app(site, announced), base_url="http://localhost", client=("127.0.0.1", 1)
        )
        answer = other.post("/v1/orders", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "path_not_allowed")
        assert told in answer.json()["hint"]
