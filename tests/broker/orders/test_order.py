"""A request is checked to the last field; a record moves by one table."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from broker.orders.order import ENDED, TRANSITIONS, OrderState, ScanState
from broker.orders.request import OrderRequest


def body(**more: Any) -> dict[str, Any]:
    url = "https://bucket.example/a.svs?X-Amz-Signature=SECRET"
    return {
        "algorithm": "ki67",
        "scans": [{"id": "1", "source": {"type": "url", "url": url}}],
    } | more


def an_order(**more: Any) -> OrderRequest:
    return OrderRequest.model_validate_json(json.dumps(body(**more)))


def scan(**more: Any) -> list[dict[str, Any]]:
    return [body()["scans"][0] | more]


TECHCYTE = {
    "type": "techcyte",
    "host": "ci.techcyte.com",
    "task_id": "dGFzazox",
    "jwt_token": "TOKEN",
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "Ki 67"},
        {"unknown": 1},
        {"scans": []},
        {"scans": scan() * 2},
        {"scans": [scan(id=str(n))[0] for n in range(65)]},
        {"scans": scan(id="../etc")},
        {"scans": scan(roi={"x": -(2**40), "y": 0, "width": 1, "height": 1})},
        {"scans": scan(roi={"x": 0, "y": 0, "width": 0, "height": 1})},
        {"scans": scan(roi={"x": 0, "y": 0, "width": 2**40, "height": 1})},
        {"scans": scan(roi={"x": 0.5, "y": 0, "width": 1, "height": 1})},
        {"scans": scan(roi={"x": True, "y": 0, "width": 1, "height": 1})},
        {"scans": scan(roi={"x": 0, "y": 0, "width": 1, "height": 1, "z": 1})},
        {"scans": scan(mpp=float("nan"))},
        {"scans": scan(mpp=0)},
        {"scans": scan(source={"type": "url", "url": "file:///etc/passwd"})},
        {"scans": scan(source={"type": "url", "url": "https://"})},
        {"scans": scan(source={"type": "url", "url": "https://a:99999/"})},
        {"scans": scan(source={"type": "ftp", "url": "ftp://a/"})},
        {"destination": TECHCYTE | {"host": None}},
        {"destination": TECHCYTE | {"base_url": "https://x.example"}},
        {"destination": TECHCYTE | {"jwt_token": None}},
        {"destination": TECHCYTE | {"host": "a/../b"}},
        {"priority": "asap"},
        {"expires_at": "2026-11-21T00:00:00"},
        {"labels": {"a b": "c"}},
        {"labels": {f"l{n}": "" for n in range(17)}},
    ],
)
def test_what_is_not_a_valid_order_is_refused(wrong: dict[str, Any]) -> None:
    """Every bound of the contract holds."""
    with pytest.raises(ValidationError):
        an_order(**wrong)


def test_secrets_are_shown_nowhere_but_to_the_store() -> None:
    """Neither a token nor a presigned query survives showing, repr or an error."""
    order = an_order(destination=TECHCYTE)
    for text in (json.dumps(order.shown()), repr(order), str(order)):
        assert "SECRET" not in text
        assert "TOKEN" not in text
    assert order.shown()["scans"][0]["source"]["url"] == "https://bucket.example/a.svs?…"
    assert "jwt_token" not in order.shown()["destination"]
    assert "SECRET" in order.whole()
    assert "TOKEN" in order.whole()
    with pytest.raises(ValidationError) as caught:
        an_order(destination=TECHCYTE | {"host": "!"})
    assert "TOKEN" not in str(caught.value)


SIGNED = "https://bucket.example/a.svs?X-Amz-Signature=SECRET"
SOURCES: list[dict[str, Any]] = [
    {"type": "url", "url": SIGNED, "sha256": "0" * 64},
    {"type": "url", "urls": [SIGNED, SIGNED]},
    {"type": "url", "zip_url": SIGNED},
    {"type": "image_server", "url": SIGNED, "protocol": "iip"},
    {"type": "path", "path": "/slides/a.svs"},
    {"type": "case", "case_id": "S26-1"},
]
SQUARE = [[0, 0], [10.5, 0], [10.5, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [2, 4], [4, 4], [2, 2]]
TRIANGLE = [[20, 0], [30, 0], [20, 10]]
REGIONS: list[Any] = [
    {"x": 0, "y": 1, "width": 2, "height": 3},
    {"polygon": [[0, 0.1], [2**31 - 1, 0.30000000000000004], [1e-9, 7]]},
    {"x": -20, "y": -(2**31 - 1), "width": 2, "height": 3},
    {"polygon": [[-30, -30.25], [128, -30], [128, 128]]},
    {"pct": [0, 33.3, 66.7, 100]},
    {"pct": [-12.5, -5, 66.7, 100]},
    {"geojson": {"type": "Polygon", "coordinates": [SQUARE, HOLE]}},
    {"geojson": {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [TRIANGLE]]}},
    "full",
    "square",
]


@pytest.mark.parametrize("roi", REGIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_what_the_store_keeps_reads_back_the_same(source: dict[str, Any], roi: Any) -> None:
    """Nothing is lost on the way through JSON: no URL, no digit of a coordinate."""
    more = {"priority": "high", "expires_at": "2030-01-01T00:00:00Z", "labels": {"case": "S26-1"}}
    order = an_order(destination=TECHCYTE, scans=scan(source=source, roi=roi), **more)
    assert OrderRequest.model_validate_json(order.whole()) == order
    assert json.loads(order.whole())["scans"][0]["source"] == source
    assert order.shown()["scans"][0]["roi"] == roi


@pytest.mark.parametrize(
    ("source", "fields"),
    list(
        zip(SOURCES, [["url"], ["urls[0]", "urls[1]"], ["zip_url"], ["url"], [], []], strict=True)
    ),
)
def test_every_source_names_the_addresses_it_is_fetched_from(
    source: dict[str, Any], fields: list[str]
) -> None:
    """In clear and by their fields, for those who must check them; and nowhere else in clear."""
    order = an_order(scans=scan(source=source))
    assert all(address == SIGNED for _, address in order.scans[0].source.addresses)
    assert [field for field, _ in order.scans[0].source.addresses] == fields
    assert "SECRET" not in f"{order!r} {order.shown()}"


def test_every_state_has_its_row_and_leads_to_known_states() -> None:
    """The table is complete: no state is forgotten, no move leads nowhere."""
    for kind, states in (("order", OrderState), ("scan", ScanState)):
        assert set(TRANSITIONS[kind]) == set(states)
        assert {to for row in TRANSITIONS[kind].values() for to in row} <= set(states)


def test_the_ends_are_those_of_the_contract() -> None:
    """An order that ended stays ended."""
    assert {"delivered", "failed", "undelivered", "cancelled", "expired"} == ENDED
