"""Every way to say where a slide is and which part of it is meant: taken, or refused with the field
that is wrong."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.requests import json_body
from services.requests.order_validation import MAX_FAULTS, order_of
from services.responses.problems import ManyFaultsError

OrderBody = Callable[..., dict[str, Any]]
SECRET = "s3cret-t0ken"
FORMS = "give x, y, width and height, or polygon, or pct"
OPEN = "https://a.example/1.dcm"
DEAD = f"{OPEN}?Signature={SECRET}&Expires=1600000000"
INNER = f"http://10.0.0.1/a?sig={SECRET}"


def scan(source: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "a", "source": source} | more]


def url(**fields: Any) -> dict[str, Any]:
    return {"type": "url"} | fields


def server(**fields: Any) -> dict[str, Any]:
    return {"type": "image_server", "url": OPEN, "protocol": "iiif"} | fields


def signed(life_s: float) -> str:
    return f"{OPEN}?Signature={SECRET}&Expires={time.time() + life_s:.0f}"


@pytest.mark.parametrize(
    ("source", "code", "field", "said"),
    [
        (url(), "request_invalid", "", "exactly one of url, urls and zip_url"),
        (url(url=OPEN, zip_url=OPEN), "request_invalid", "", "exactly one of"),
        (url(url=OPEN, urls=[OPEN]), "request_invalid", "", "exactly one of"),
        (
            url(urls=[OPEN], sha256="0" * 64),
            "request_invalid",
            "",
            "sha256 goes with url or zip_url",
        ),
        (url(url=OPEN, sha256="0" * 63), "request_invalid", ".sha256", "should match"),
        (url(url=OPEN, sha265="0" * 64), "request_invalid", ".sha265", "not permitted"),
        (url(urls=[]), "request_invalid", ".urls", "at least 1"),
        (
            url(urls=[OPEN, f"ftp://h/?{SECRET}"]),
            "request_invalid",
            ".urls[1]",
            "not an http or https URL",
        ),
        (
            url(urls=[OPEN, f"http://[{SECRET}]"]),
            "request_invalid",
            ".urls[1]",
            "not an http or https URL",
        ),
        (
            url(zip_url=f"file:///{SECRET}"),
            "request_invalid",
            ".zip_url",
            "not an http or https URL",
        ),
        (url(urls=[OPEN, OPEN, INNER]), "host_not_allowed", ".urls[2]", "private address space"),
        (url(zip_url=INNER), "host_not_allowed", ".zip_url", "private address space"),
        (url(url=DEAD), "input_expired", ".url", "expired at 2020-09-13T12:26:40+00:00"),
        (url(zip_url=DEAD), "input_expired", ".zip_url", "expired at 2020"),
        (url(urls=[OPEN, DEAD]), "input_expired", ".urls[1]", "expired at 2020"),
        (server(protocol="wms"), "request_invalid", ".protocol", 'it is "wms"'),
        (server(url=f"oss:5000/{SECRET}"), "request_invalid", ".url", "not an http or https URL"),
        (server(url=INNER), "host_not_allowed", ".url", "private address space"),
        (server(url=DEAD), "input_expired", ".url", "expired at 2020"),
        ({"type": "image_server", "url": OPEN}, "request_invalid", ".protocol", "required"),
        ({"type": "case"}, "request_invalid", ".case_id", "required"),
        ({"type": "case", "case_id": "a/../b"}, "request_invalid", ".case_id", "should match"),
        (
            {"type": "case", "case_id": "S26-1", "url": f"https://{SECRET}/"},
            "request_invalid",
            ".url",
            "not permitted",
        ),
        ({"type": "case", "case_id": "S26-1"}, "request_invalid", ".type", "no locator"),
        (f"https://h/?{SECRET}", "request_invalid", "", "should be an object"),
    ],
)
def test_a_wrong_source_is_told_by_its_field(
    api: TestClient, order_body: OrderBody, source: Any, code: str, field: str, said: str
) -> None:
    """One clear fault, the field by its path, a hint or a rule, and never the URL."""
    answer = api.post("/v1/orders", json=order_body(scans=scan(source)))
    told = answer.json()
    assert answer.status_code == (410 if code == "input_expired" else 422)
    assert (told["code"], told["field"]) == (code, f"scans[0].source{field}")
    assert said in told["detail"]
    assert len(told.get("errors", [told])) == 1
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("roi", "field", "said"),
    [
        ({"x": 1, "y": 1, "width": 1, "height": 1, "polygon": [[0, 0], [1, 0], [0, 1]]}, "", FORMS),
        ({"polygon": [[0, 0], [1, 0], [0, 1]], "pct": [0, 0, 1, 1]}, "", FORMS),
        ({}, "", FORMS),
        ({"z": 1}, "", FORMS),
        ([1, 2, 3, 4], "", FORMS),
        ("all", "", FORMS),
        ({"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [0, 9]]]}, "", "GeoJSON"),
        ({"polygon": [[0, 0], [1, 1]]}, ".polygon", "at least 3"),
        ({"polygon": [[0, 0], [1, 1], [3, 3]]}, "", "lie on one line"),
        ({"polygon": [[5, 5], [5, 5], [5, 5]]}, "", "lie on one line"),
        (
            {"polygon": [[0, 0], [1, 0], [0, 1], [-(2**31), 0]]},
            ".polygon[3][0]",
            "it is -2147483648",
        ),
        ({"polygon": [[0, 0], [1, 0], [0, 2**31]]}, ".polygon[2][1]", "it is 2147483648"),
        ({"polygon": [[0, 0], [1, 0], [0]]}, ".polygon[2][1]", "required"),
        ({"polygon": [[0, 0], [1, 0], [0, 1, 2]]}, ".polygon[2]", "at most 2"),
        ({"polygon": [[0, 0], [1, 0], [0, SECRET]]}, ".polygon[2][1]", "valid number"),
        ({"polygon": [[0, 0], [1, 0], [0, 1]], "holes": []}, ".holes", "not permitted"),
        (
            {"polygon": [[0, 0], [9, 9], [9, 0], [0, 9]]},
            ".polygon",
            "touches itself, at (4.5, 4.5)",
        ),
        (
            {"geojson": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [0]]]}},
            ".geojson.coordinates[0][2][1]",
            "required",
        ),
        ({"geojson": {"type": "Feature", "geometry": {}}}, ".geojson", "of a Feature, give its"),
        ({"geojson": {"type": ["Polygon"]}}, ".geojson", "of a Feature, give its"),
        (
            {"geojson": {"type": "MultiPolygon", "coordinates": []}},
            ".geojson.coordinates",
            "at least 1",
        ),
        ({"pct": [0, 0, 100]}, ".pct[3]", "required"),
        ({"pct": [0, 0, 0, 100]}, ".pct[2]", "it is 0"),
        ({"pct": [0, 0, 50, 100.5]}, ".pct[3]", "it is 100.5"),
        ({"pct": "full"}, ".pct", "valid array"),
    ],
)
def test_a_wrong_region_is_told_by_its_field(
    api: TestClient, order_body: OrderBody, roi: Any, field: str, said: str
) -> None:
    """A mixture of forms is one fault; a wrong point or share is named with its place and its
    value."""
    answer = api.post(
        "/v1/orders",
        json=order_body(scans=scan({"type": "path", "path": "/slides/a.svs"}, roi=roi)),
    )
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (
        422,
        "request_invalid",
        f"scans[0].roi{field}",
    )
    assert said in told["detail"]
    assert len(told.get("errors", [told])) == 1
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("source", "roi"),
    [
        (
            url(url=f"{OPEN}?sig={SECRET}", sha256="0" * 64),
            {"x": 0, "y": 0, "width": 1, "height": 1},
        ),
        (url(urls=[f"{OPEN}?sig={SECRET}", OPEN]), {"polygon": [[0.5, 0], [10, 0], [0, 10.25]]}),
        (url(zip_url=f"{OPEN}?sig={SECRET}"), {"pct": [0, 0, 100, 100]}),
        (
            server(url=f"http://127.0.0.1:81/iiif/a.svs?token={SECRET}"),
            {"pct": [12.5, 12.5, 25, 25]},
        ),
        (server(protocol="deepzoom"), None),
        (server(protocol="deepzoom"), "square"),
        (
            url(url=OPEN),
            {"geojson": {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [0, 9]]]}},
        ),
    ],
)
def test_every_source_and_every_region_is_taken_and_shown(
    api: TestClient, order_body: OrderBody, source: dict[str, Any], roi: Any
) -> None:
    """As it was asked for, but for the queries of URLs."""
    answer = api.post(
        "/v1/orders", json=order_body(scans=scan(source, **({"roi": roi} if roi else {})))
    )
    assert answer.status_code == 202, answer.text
    assert SECRET not in answer.text
    (shown,) = answer.json()["scans"]
    assert shown.get("roi") == roi
    assert shown["source"] == json.loads(re.sub(r"\?[a-z]+=s3cret-t0ken", "?…", json.dumps(source)))


def test_a_url_that_died_this_very_moment_is_still_tried(
    api: TestClient, order_body: OrderBody
) -> None:
    """Two clocks never agree to the second."""
    assert (
        api.post("/v1/orders", json=order_body(scans=scan(url(url=signed(-2))))).status_code == 202
    )
    assert (
        api.post("/v1/orders", json=order_body(scans=scan(url(url=signed(-30))))).status_code == 410
    )


def test_a_case_is_taken_where_a_locator_knows_where_to_look(
    config: Config, announced: OrderStore, order_body: OrderBody
) -> None:
    """What the locator says of it is found out when the scan is fetched."""
    located = load(**config.model_dump() | {"worker": {"locator": {"type": "map", "cases": {}}}})
    api = TestClient(
        create_app(located, announced), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1)
    )
    scans = scan({"type": "case", "case_id": "S26-1"})
    assert (
        api.post("/v1/orders", json=order_body(scans=scans)).json()["scans"][0]["source"]
        == scans[0]["source"]
    )


def test_the_largest_orders_are_judged_in_moments(order_body: OrderBody) -> None:
    """Tens of thousands of URLs, and a polygon of as many points as are allowed."""
    series = [
        {"id": str(n), "source": url(urls=[f"http://h/{k}" for k in range(1000)])}
        for n in range(48)
    ]
    ring = [[n, n * n % 9999] for n in range(10_000)]
    began = time.process_time()
    for scans in (series, scan(url(url=OPEN), roi={"polygon": ring})):
        order_of(json_body.parse(json.dumps(order_body(scans=scans)).encode()))
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"source": url(urls=[OPEN] * 1001)}, "source.urls: .* at most 1000"),
        (
            {"source": url(url=OPEN), "roi": {"polygon": [[n, n * n] for n in range(10_001)]}},
            "roi.polygon: .* 10000",
        ),
        ({"source": url(urls=["ftp://h/"] * 1000)}, r"source.urls\[0\]: .* not an http"),
        (
            {"source": url(url=OPEN), "roi": {"polygon": [[-(2**31), -1]] * 10_000}},
            r"roi.polygon\[0\]\[0\]: .* it is -2147483648",
        ),
    ],
)
def test_of_too_much_or_much_that_is_wrong_the_first_faults_are_told(
    order_body: OrderBody, more: dict[str, Any], said: str
) -> None:
    """An answer stays short whatever came in."""
    with pytest.raises(ManyFaultsError, match=said) as caught:
        order_of(json_body.parse(json.dumps(order_body(scans=[{"id": "a"} | more])).encode()))
    assert len(caught.value.faults) <= MAX_FAULTS
    if "10000" in said:
        assert "at most 10,000 points" in caught.value.hint
