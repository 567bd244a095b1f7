"""Slides that a caller sent in, looked at where they lie and then ordered."""

import io
import zipfile
from pathlib import Path

from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.orders.source import UploadSource
from tests.services.slides.conftest import WIDTH
from tests.support.tus import TusCaller, id_of

VALIDATE = "/v1/orders?validate_only=true"


def test_an_upload_is_opened_where_it_lies(
    seeing: TestClient, folder: Path, store: OrderStore
) -> None:
    """`ready` at once, with the name that it was sent under; an order takes the upload."""
    upload = id_of(TusCaller(seeing).send((folder / "a.svs").read_bytes(), "S26-1.svs"))
    answer = seeing.post("/v1/slides", json={"source": {"type": "upload", "upload": upload}})
    assert answer.status_code == 201, answer.text
    slide = answer.json()
    assert (slide["state"], slide["width"], slide["name"]) == ("ready", WIDTH, "S26-1.svs")
    tile = seeing.get(f"{slide['iiif']}/full/64,/0/default.jpg")
    assert tile.headers["content-type"] == "image/jpeg"
    scans = [{"id": "1", "source": {"type": "slide", "slide": slide["id"]}}]
    body = {"algorithm": "tiled", "scans": scans}
    (planned,) = seeing.post(VALIDATE, json=body).json()["scans"]
    assert planned["tiles"] == 20
    order = seeing.post("/v1/orders", json=body)
    assert order.status_code == 202, order.text
    (scan,) = store.get(order.json()["id"]).request.scans
    assert scan.source == UploadSource(type="upload", upload=upload)


def test_a_zip_that_was_sent_in_is_unpacked_first(seeing: TestClient, folder: Path) -> None:
    """By the couriers, as that of an order; only then somebody can see the slide."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(folder / "a.svs", "a.svs")
    upload = id_of(TusCaller(seeing).send(archive.getvalue(), "a.zip"))
    source = {"type": "upload", "upload": upload}
    answer = seeing.post("/v1/slides", json={"source": source})
    assert (answer.status_code, answer.json()["state"]) == (202, "fetching")
    body = {"algorithm": "tiled", "scans": [{"id": "1", "source": source}]}
    (planned,) = seeing.post(VALIDATE, json=body).json()["scans"]
    assert [one["code"] for one in planned["warnings"]] == ["not_looked_at"]


def test_an_upload_that_is_not_whole_or_not_there_is_refused(
    seeing: TestClient, folder: Path
) -> None:
    """With its field, when looking and when ordering."""
    begun = id_of(TusCaller(seeing).create(100).headers["location"])
    for upload, code in ((begun, "upload_incomplete"), ("f" * 32, "upload_not_found")):
        source = {"type": "upload", "upload": upload}
        problem = seeing.post("/v1/slides", json={"source": source}).json()
        assert (problem["code"], problem["field"]) == (code, "source.upload")
        body = {"algorithm": "tiled", "scans": [{"id": "1", "source": source}]}
        problem = seeing.post(VALIDATE, json=body).json()
        assert (problem["code"], problem["field"]) == (code, "scans[0].source.upload")
