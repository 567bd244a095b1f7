"""Tiles of findings as a viewer asks for them."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.file_storage import open_storage
from broker.order_store import OrderStore
from broker.orders.request import OrderRequest
from broker.settings.config import Config
from tests.support.findings_results import classified_scan
from tests.support.findings_tiles import FindingsReader
from worker.geometry.frame import Frame


@pytest.fixture
def scan(config: Config, announced: OrderStore) -> tuple[str, Path]:
    return classified_scan(announced, open_storage(config.broker))


def test_each_tile_is_served_as_the_archive_holds_it(
    api: TestClient, scan: tuple[str, Path]
) -> None:
    """Bytes that a browser unpacks by itself and keeps; 204 for a place where nothing is."""
    path, folder = scan
    reader = FindingsReader.of(folder / "findings.pmtiles", 9000, 5000)
    assert {zoom for zoom, _, _ in reader.tiles} == {0, 1, 2, 4}
    statuses = []
    for zoom in range(5):
        for x in range(-(-9000 // reader.edge_px(zoom))):
            for y in range(-(-5000 // reader.edge_px(zoom))):
                answer = api.get(f"{path}/findings/{zoom}/{x}/{y}")
                statuses.append(answer.status_code)
                assert answer.content == reader.tiles.get((zoom, x, y), b"")
                assert answer.status_code == (204 if not answer.content else 200)
                assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
                assert "content-encoding" not in answer.headers
    assert {200, 204} == set(statuses)
    full = api.get(f"{path}/findings/0/0/0")
    assert full.headers["content-type"] == "application/octet-stream"
    assert full.headers["x-content-type-options"] == "nosniff"


def test_a_tile_that_the_caller_has_is_not_sent_again(
    api: TestClient, scan: tuple[str, Path]
) -> None:
    """304 with the tag of that tile alone."""
    path, _ = scan
    tag = api.get(f"{path}/findings/0/0/0").headers["etag"]
    other = api.get(f"{path}/findings/1/0/0").headers["etag"]
    assert tag != other
    for given, status in ((tag, 304), (f'"x", W/{tag}', 304), ("*", 304), (other, 200)):
        answer = api.get(f"{path}/findings/0/0/0", headers={"If-None-Match": given})
        assert (answer.status_code, answer.headers["etag"]) == (status, tag)


@pytest.mark.parametrize("place", ["5/0/0", "4/9/0", "4/0/5", "0/1/0", "999999999/0/0"])
def test_a_place_off_the_slide_is_a_404(
    api: TestClient, scan: tuple[str, Path], place: str
) -> None:
    """Its hint says which zooms there are."""
    answer = api.get(f"{scan[0]}/findings/{place}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "zooms 0 to 4" in answer.json()["hint"]


@pytest.mark.parametrize(
    "place", ["a/0/0", "-1/0/0", "0/0/0.5", "0/%20/0", "0/0/9999999999", "0/\u0663/0"]
)
def test_what_is_no_place_is_a_400(api: TestClient, scan: tuple[str, Path], place: str) -> None:
    """Before anything is read."""
    answer = api.get(f"{scan[0]}/findings/{place}")
    assert (answer.status_code, answer.json()["code"]) == (400, "request_malformed")


def test_both_files_are_served_whole_and_in_part(api: TestClient, scan: tuple[str, Path]) -> None:
    """Found by the links of the scan; the archive by ranges, as readers of PMTiles ask. They are in
    the zip of all results too, of which they are a twentieth."""
    path, folder = scan
    order = api.get(path.partition("/scans/")[0]).json()
    links = order["scans"][0]["links"]
    document = api.get(links["findings.json"])
    assert document.headers["content-type"] == "application/json"
    assert document.json() == json.loads((folder / "findings.json").read_bytes())
    whole = (folder / "findings.pmtiles").read_bytes()
    assert api.get(links["findings.pmtiles"]).content == whole
    part = api.get(links["findings.pmtiles"], headers={"Range": "bytes=0-126"})
    assert (part.status_code, part.content) == (206, whole[:127])
    with zipfile.ZipFile(io.BytesIO(api.get(links["results.zip"]).content)) as archive:
        assert archive.read("findings.pmtiles") == whole


def test_a_result_of_an_older_version_says_how_to_have_findings(
    api: TestClient, announced: OrderStore, order_body: Callable[..., dict[str, Any]]
) -> None:
    """404 with a hint, for the files and for tiles; no link promises them."""
    request = OrderRequest.model_validate(order_body(), strict=False)
    order_id = announced.create(request, queue="gpu").order_id
    steps: list[tuple[Any, str, dict[str, Any]]] = [
        ("fetch", "staged", {}),
        ("classify", "classified", {"result": f"results/{order_id}/0.2"}),
    ]
    for stage, to, fields in steps:
        claim = announced.claim(f"{order_id}.0", stage, "w1")
        assert claim
        announced.finish(claim, to, fields)
    path = f"/v1/orders/{order_id}/scans/a"
    for name in ("findings.json", "findings.pmtiles", "findings/0/0/0"):
        answer = api.get(f"{path}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "place the order again" in answer.json()["hint"]
    links = api.get(f"/v1/orders/{order_id}").json()["scans"][0]["links"]
    assert not [name for name in links if name.startswith("findings")]


def test_tiles_need_a_key_that_may_read(keyed: TestClient, scan: tuple[str, Path]) -> None:
    """As all results do."""
    for name in ("findings/0/0/0", "findings.json", "findings.pmtiles"):
        answer = keyed.get(f"{scan[0]}/{name}")
        assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")


def test_a_scan_without_a_result_has_no_tiles_yet(
    api: TestClient, order_body: Callable[..., dict[str, Any]]
) -> None:
    """409, as for its files; 404 for a scan that the order does not have."""
    order_id = api.post("/v1/orders", json=order_body()).json()["id"]
    answer = api.get(f"/v1/orders/{order_id}/scans/a/findings/0/0/0")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert api.get(f"/v1/orders/{order_id}/scans/b/findings/0/0/0").status_code == 404


def test_an_archive_that_is_gone_is_a_404(api: TestClient, scan: tuple[str, Path]) -> None:
    """Also where it was read before."""
    path, folder = scan
    assert api.get(f"{path}/findings/0/0/0").status_code == 200
    (folder / "findings.pmtiles").unlink()
    answer = api.get(f"{path}/findings/0/0/0")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "no longer kept" in answer.json()["detail"]


def test_an_archive_of_many_tiles_is_found_by_its_leaf_directories(
    api: TestClient, config: Config, announced: OrderStore
) -> None:
    """A slide whose root directory has no room for all tiles."""
    frame = Frame(150_000, 150_000, 0.25, 0.25, "slide")
    path, folder = classified_scan(announced, open_storage(config.broker), 20_000, frame)
    reader = FindingsReader.of(folder / "findings.pmtiles", 150_000, 150_000)
    assert len(reader.tiles) > 10_000
    for place in [*list(reader.tiles)[::400], list(reader.tiles)[-1]]:
        zoom, x, y = place
        assert api.get(f"{path}/findings/{zoom}/{x}/{y}").content == reader.tiles[place]
