"""The annotation stand-in opens every zip and takes none that its importer could not read."""

import io
import json
import zipfile
from collections.abc import Iterator

import pytest
import requests

from demo.annotation import AnnotationReceiver

PREFIX = "S1.S1.abc_mpp_0.5_x100_y200"


@pytest.fixture
def annotation() -> Iterator[AnnotationReceiver]:
    with AnnotationReceiver() as receiver:
        yield receiver


def members() -> dict[str, bytes]:
    meta = {"case_id": "S1", "subject_id": "S1", "analysis_id": "a", "analysis_desc": "d", "out_file_prefix": PREFIX,
            "image_width": 4000, "image_height": 3000, "mpp": 0.5}  # fmt: skip
    return {
        f"{PREFIX}-algmeta.json": json.dumps(meta).encode(),
        f"{PREFIX}-algmeta.csv": f"{','.join(meta)}\n{','.join(map(str, meta.values()))}\n".encode(),
        f"{PREFIX}-features.csv": b"AreaInPixels,Score,Polygon\n12.0,0.9,[100:200:100.5:264:164:264:100:200]\n",
        f"{PREFIX}-seg.png": b"\x89PNG\r\n\x1a\n\x00\r\r\n\n",
    }


def zipped(content: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return packed.getvalue()


def submit(receiver: AnnotationReceiver, payload: bytes, case: str = "S1") -> requests.Response:
    files = {"zip": ("output.zip", payload, "application/zip")}
    return requests.post(
        f"{receiver.url}/submitZipOrder", data={"case_id": case}, files=files, timeout=10
    )


def test_a_zip_is_queued(annotation: AnnotationReceiver) -> None:
    """A good zip is answered as the loader does, and its polygons are counted."""
    answer = submit(annotation, zipped(members()))
    assert answer.status_code == 200
    assert (answer.json()["Status"], answer.json()["id"], answer.json()["Job"]["id"]) == (
        "Queued",
        1,
        1,
    )
    assert [entry.note for entry in annotation.ledger] == [{"case": "S1", "features": 1}]


def test_a_mask_alone_says_that_nothing_was_found(annotation: AnnotationReceiver) -> None:
    """With no nuclei there is no algmeta and no features.csv, only the mask."""
    assert (
        submit(
            annotation, zipped({f"{PREFIX}-seg.png": members()[f"{PREFIX}-seg.png"]})
        ).status_code
        == 200
    )
    assert annotation.ledger[0].note["features"] == 0


def test_a_missing_field_is_a_400(annotation: AnnotationReceiver) -> None:
    """Without the case or without the zip the loader answers 400 in plain text."""
    url = f"{annotation.url}/submitZipOrder"
    case_only = requests.post(url, files={"case_id": (None, "S1")}, timeout=10)
    zip_only = requests.post(url, files={"zip": ("o.zip", zipped(members()))}, timeout=10)
    assert [(r.status_code, r.text) for r in (case_only, zip_only)] == [
        (400, "zip is missing"),
        (400, "case_id is missing"),
    ]


@pytest.mark.parametrize(
    ("member", "content", "why"),
    [
        ("features.csv", b"AreaInPixels,Polygon,\n1,[1:1:2:2:3:1],\n", "trailing comma"),
        ("features.csv", b"Area,Polygon\n1,[1:1:2:2:3:1]\n", "AreaInPixels"),
        ("features.csv", b"AreaInPixels,Polygon\nbig,[1:1:2:2:3:1]\n", "not a number"),
        ("features.csv", b"AreaInPixels,Polygon\n1,[1:1:2:2:3]\n", "three points"),
        ("features.csv", b"AreaInPixels,Polygon\n1,[1:1:2:2:9999:1:1:1]\n", "outside the image"),
        ("features.csv", b"AreaInPixels,Polygon\n1,[1:1:2:2:3:1]\n", "not closed"),
        ("features.csv", b"AreaInPixels,Polygon\n1,[1:1:2:2:3e0:1:1:1]\n", "only digits"),
        ("features.csv", b"AreaInPixels,Polygon\n1,2,[1:1:2:2:3:1]\n", "3 columns"),
        ("algmeta.json", b'{\n"case_id": "S1"}', "more than one line"),
        ("algmeta.json", b'{"case_id": "S1"}', "subject_id"),
        ("seg.png", b"GIF89a", "not a PNG"),
        ("notes.txt", b"", "not a member"),
    ],
)
def test_a_zip_that_cannot_be_imported_is_a_500(
    annotation: AnnotationReceiver, member: str, content: bytes, why: str
) -> None:
    """Each broken rule of the format is refused with `Failed: ` and the reason, and nothing is
    kept."""
    answer = submit(annotation, zipped({**members(), f"{PREFIX}-{member}": content}))
    assert answer.status_code == 500
    assert answer.json()["Status"].startswith("Failed: ")
    assert why in answer.json()["Status"]
    assert annotation.ledger == []


def test_a_cut_zip_and_an_incomplete_one_are_refused(annotation: AnnotationReceiver) -> None:
    """Bytes that are no zip, and features without their algmeta, cannot be imported."""
    incomplete = {name: data for name, data in members().items() if not name.endswith(".json")}
    assert submit(annotation, zipped(members())[:-30]).status_code == 500
    assert submit(annotation, zipped(incomplete)).status_code == 500


def test_any_bytes_survive_the_form(annotation: AnnotationReceiver) -> None:
    """Line ends and high bytes in a zip's member arrive unharmed through the multipart form."""
    nasty = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40 + b"\r\n--x\n\r\r\n"
    assert submit(annotation, zipped({**members(), f"{PREFIX}-seg.png": nasty})).status_code == 200
