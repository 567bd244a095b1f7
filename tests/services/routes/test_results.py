"""Picking up what was found."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.errors import Problem
from broker.order_store import OrderStore
from broker.orders.result_files import OPTIONAL
from broker.settings.config import BrokerSettings

OrderBody = Callable[..., dict[str, Any]]
CONTENT = {
    "features.geojson": b'{"type":"FeatureCollection"}',
    "features.geojson.gz": b"\x1f\x8b",
    "objects.csv": b"id,class\n",
    "region.geojson": b'{"type":"FeatureCollection","features":[]}',
    "results.json": b"{}",
    "overlay.png": b"\x89PNG",
}


@pytest.fixture
def order_id(api: TestClient, order_body: OrderBody) -> str:
    return str(api.post("/v1/orders", json=order_body()).json()["id"])


@pytest.fixture
def classified(order_id: str, announced: OrderStore, broker_settings: BrokerSettings) -> str:
    """An order whose scan is classified, its files where a worker puts them."""
    folder = Path("results") / order_id / "0"
    (broker_settings.data / folder).mkdir(parents=True)
    for name, content in CONTENT.items():
        (broker_settings.data / folder / name).write_bytes(content)
    steps: tuple[tuple[Any, str, dict[str, Any]], ...] = (
        ("fetch", "staged", {}),
        ("classify", "classified", {"result": str(folder), "summary": {"headline": "Ki-67 12 %"}}),
    )
    for stage, to, fields in steps:
        claim = announced.claim(f"{order_id}.0", stage, "w1")
        assert claim
        announced.finish(claim, to, fields)
    return order_id


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("features.geojson", "application/geo+json"),
        ("features.geojson.gz", "application/gzip"),
        ("objects.csv", "text/csv; charset=utf-8"),
        ("region.geojson", "application/geo+json"),
        ("results.json", "application/json"),
        ("overlay.png", "image/png"),
    ],
)
def test_a_result_is_served_byte_for_byte(
    api: TestClient, classified: str, name: str, media_type: str
) -> None:
    """Found by the link of its scan, with its own media type, never sniffed."""
    scan = api.get(f"/v1/orders/{classified}").json()["scans"][0]
    answer = api.get(scan["links"][name])
    assert (answer.status_code, answer.content) == (200, CONTENT[name])
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert scan["summary"] == {"headline": "Ki-67 12 %"}


def test_results_are_not_there_before_the_scan_is_classified(
    api: TestClient, order_id: str
) -> None:
    """409 that tells the scan's state; no link promises more."""
    answer = api.get(f"/v1/orders/{order_id}/scans/a/results.json")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert "queued" in answer.json()["detail"]
    assert api.get(f"/v1/orders/{order_id}").json()["scans"][0]["links"] == {}


@pytest.mark.parametrize("name", [*CONTENT, "results.zip"])
def test_a_failed_scan_says_why_it_has_no_results(
    api: TestClient, order_id: str, announced: OrderStore, name: str
) -> None:
    """With its own code, detail, hint and blame, and not as if they were to come."""
    claim = announced.claim(f"{order_id}.0", "fetch", "w1")
    assert claim
    problem = Problem("input_unreachable", "HTTP 503", "ask the bucket", blame="platform")
    announced.finish(claim, "failed", problem=problem)
    answer = api.get(f"/v1/orders/{order_id}/scans/a/{name}")
    shown = answer.json()
    assert (answer.status_code, shown["code"], shown["blame"]) == (422, "scan_failed", "platform")
    assert shown["detail"] == "scan a failed: input_unreachable: HTTP 503"
    assert shown["hint"] == "ask the bucket"
    payload = api.get(f"/v1/orders/{order_id}/payload").json()
    assert payload["code"] == "scan_failed"
    assert "1 of 1 scans failed" in payload["detail"]


def test_a_cancelled_scan_is_not_waited_for(api: TestClient, order_id: str) -> None:
    """Its results come only after a retry."""
    api.post(f"/v1/orders/{order_id}/cancel")
    for path in ("scans/a/results.json", "payload"):
        answer = api.get(f"/v1/orders/{order_id}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
        assert "cancelled" in answer.json()["detail"]


@pytest.mark.parametrize(
    "tail", ["scans/b/results.json", "scans/a/findings.npz", "scans/a/..%2f..%2fx", "scans/a"]
)
def test_what_is_no_result_is_a_404(api: TestClient, classified: str, tail: str) -> None:
    """Only the three files of the order's own scans are served, whatever else lies in the
    folder."""
    answer = api.get(f"/v1/orders/{classified}/{tail}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_file_of_some_algorithms_is_linked_only_where_it_is(
    api: TestClient, classified: str, name: str
) -> None:
    """The record says which there are; of the others it is said that the algorithm makes none."""
    links = api.get(f"/v1/orders/{classified}").json()["scans"][0]["links"]
    assert links.keys() >= CONTENT.keys()
    assert name not in links
    answer = api.get(f"/v1/orders/{classified}/scans/a/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"] == f"scan a has no {name}"


def test_a_file_of_the_sites_code_is_a_download(
    api: TestClient, order_id: str, announced: OrderStore, broker_settings: BrokerSettings
) -> None:
    """Only what the record names; its content is nobody's page here. The archive holds it too."""
    folder = Path("results") / order_id / "0"
    (broker_settings.data / folder / "files").mkdir(parents=True)
    for name in ("map.html", "other.html"):
        (broker_settings.data / folder / "files" / name).write_text("<b>")
    for stage, to, fields in (
        ("fetch", "staged", {}),
        ("classify", "classified", {"result": str(folder), "files": ["files/map.html"]}),
    ):
        claim = announced.claim(f"{order_id}.0", stage, "w1")  # type: ignore[arg-type]
        assert claim
        announced.finish(claim, to, fields)  # type: ignore[arg-type]
    links = api.get(f"/v1/orders/{order_id}").json()["scans"][0]["links"]
    answer = api.get(links["files/map.html"])
    assert (answer.status_code, answer.text) == (200, "<b>")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="map.html"'
    for name in ("other.html", "..%2fresults.json"):
        other = api.get(f"/v1/orders/{order_id}/scans/a/files/{name}")
        assert (other.status_code, other.json()["code"]) == (404, "not_found")
    archive = zipfile.ZipFile(io.BytesIO(api.get(links["results.zip"]).content))
    assert archive.namelist() == ["files/map.html"]


def test_a_result_that_was_cleared_away_is_a_404(
    api: TestClient, classified: str, broker_settings: BrokerSettings
) -> None:
    """The record outlives the files; that is said instead of failing."""
    (broker_settings.data / "results" / classified / "0" / "overlay.png").unlink()
    answer = api.get(f"/v1/orders/{classified}/scans/a/overlay.png")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_payload_is_shown_as_it_is_sent(
    api: TestClient, classified: str, announced: OrderStore, broker_settings: BrokerSettings
) -> None:
    """409 until it is made, then the exact bytes with the type they are sent with."""
    assert api.get(f"/v1/orders/{classified}/payload").status_code == 409
    (broker_settings.data / "payload").write_bytes(b"--x\r\nbytes")
    claim = announced.claim(classified, "deliver", "w1")
    assert claim
    payload = {
        "file": "payload",
        "digest": "d",
        "bytes": 10,
        "content_type": "multipart/form-data; boundary=x",
    }
    announced.note(claim, {"parcel": payload})
    answer = api.get(api.get(f"/v1/orders/{classified}").json()["links"]["payload"])
    assert answer.content == b"--x\r\nbytes"
    assert answer.headers["content-type"] == "multipart/form-data; boundary=x"


def test_all_results_come_as_one_archive(api: TestClient, classified: str) -> None:
    """results.zip: every file by its name, the same bytes each time, also by HEAD and in parts."""
    address = api.get(f"/v1/orders/{classified}").json()["scans"][0]["links"]["results.zip"]
    answer = api.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENT
    again = api.get(address)
    assert again.content == answer.content
    head = api.head(address)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(answer.content))
    assert head.headers["etag"] == answer.headers["etag"]
    part = api.get(address, headers={"Range": "bytes=100-", "If-Range": answer.headers["etag"]})
    assert (part.status_code, part.content) == (206, answer.content[100:])
    beyond = api.get(address, headers={"Range": "bytes=10000000-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")


def test_an_archive_of_results_that_were_cleared_away_is_a_404(
    api: TestClient, classified: str, broker_settings: BrokerSettings
) -> None:
    """And one of which only some are left holds these."""
    folder = broker_settings.data / "results" / classified / "0"
    (folder / "overlay.png").unlink()
    answer = api.get(f"/v1/orders/{classified}/scans/a/results.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert sorted(archive.namelist()) == sorted(set(CONTENT) - {"overlay.png"})
    shutil.rmtree(folder)
    answer = api.get(f"/v1/orders/{classified}/scans/a/results.zip")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
