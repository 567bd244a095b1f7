"""Whose an upload is, how much may be sent, and what names become."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.order_store import OrderStore
from broker.settings.config import Config, ConfigError, load
from broker.uploads import Uploads
from broker.uploads.names import safe_name
from services.app import create_app
from tests.services.conftest import KEYS, LOOPBACK
from tests.support.tus import TusCaller, id_of, metadata

OrderBody = Callable[..., dict[str, Any]]
CONTROLS = "a\x00b\n\u202esvs.exe"
LETTERS = "\u00e9" * 300


def sha12(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def with_limits(config: Config, announced: OrderStore, **limits: int) -> TusCaller:
    """Return a caller of an API with these settings of uploads."""
    settings = load(**config.model_dump() | {"services": {"uploads": limits}})
    app = create_app(settings, announced)
    return TusCaller(TestClient(app, base_url="http://127.0.0.1:8000", client=LOOPBACK))


@pytest.fixture
def limited(config: Config, announced: OrderStore) -> TusCaller:
    """An API that takes 1000 bytes in each of two uploads."""
    return with_limits(config, announced, max_bytes=1000, per_caller=2)


def test_what_is_over_the_limit_is_refused(limited: TusCaller) -> None:
    """One file, and the files of one slide together; another slide has room of its own."""
    assert code(limited.create(1001)) == (413, "upload_too_large")
    set_id = limited.create(600, "a.dcm").headers["upload-set"]
    assert code(limited.create(401, "b.dcm", set_id)) == (413, "upload_too_large")
    assert limited.create(400, "b.dcm", set_id).status_code == 201
    assert limited.create(1000).status_code == 201


def test_a_caller_has_so_many_uploads(limited: TusCaller) -> None:
    """429 with when to try again; files of one slide count once, a deleted one not at all."""
    first = limited.create(10, "a.dcm")
    limited.create(10)
    refused = limited.create(10)
    assert code(refused) == (429, "too_many_uploads")
    assert refused.headers["retry-after"] == "60"
    assert limited.create(10, "b.dcm", first.headers["upload-set"]).status_code == 201
    limited.delete(f"/v1/uploads/{first.headers['upload-set']}")
    assert limited.create(10).status_code == 201


def test_a_caller_keeps_so_many_bytes(config: Config, announced: OrderStore) -> None:
    """429 with the sum, the setting and what to do, though every one is whole and small enough."""
    limited = with_limits(config, announced, max_bytes=1000, per_caller_bytes=1500)
    first = limited.send(bytes(1000), "a.dcm")
    limited.send(bytes(400), "b.dcm")
    refused = limited.create(101)
    assert code(refused) == (429, "too_many_uploads")
    assert refused.headers["retry-after"] == "60"
    for words in ("1501 bytes", "services.uploads.per_caller_bytes", "1500", "DELETE"):
        assert words in refused.json()["detail"] + refused.json()["hint"]
    assert limited.create(100).status_code == 201
    limited.delete(first)
    assert limited.create(1000).status_code == 201


def test_a_caller_can_keep_one_of_the_largest() -> None:
    """Settings under which the largest upload never fits are refused, with both values."""
    with pytest.raises(ConfigError, match=r"uploads.*1000, too little for one .*max_bytes, 1001"):
        load(services={"uploads": {"max_bytes": 1001, "per_caller_bytes": 1000}})
    load(services={"uploads": {"max_bytes": 1000, "per_caller_bytes": 1000}})


def test_a_full_disk_is_told_before_it_is_full(
    tus: TusCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """507: some of the disk stays free, and what was promised to others is not promised twice."""
    disk = SimpleNamespace(total=10**9, used=0, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: disk)
    assert code(tus.create(950_000_001)) == (507, "uploads_full")
    assert tus.create(900_000_000).status_code == 201
    assert code(tus.create(50_000_001)) == (507, "uploads_full")
    assert tus.create(50_000_000).status_code == 201


def test_an_upload_is_its_callers_own(
    keyed: TestClient, uploads: Uploads, order_body: OrderBody
) -> None:
    """Another key is told that there is none, by every method, for the set, and by an order."""
    clerk = TusCaller(keyed, **{"X-API-Key": KEYS["clerk"]})
    chief = TusCaller(keyed, **{"X-API-Key": KEYS["chief"]})
    reader = TusCaller(keyed, **{"X-API-Key": KEYS["reader"]})
    address = clerk.send(b"abc")
    set_id = uploads.set_id(id_of(address))
    body = order_body(scans=[{"id": "1", "source": {"type": "upload", "upload": set_id}}])
    assert chief.head(address).status_code == 404
    assert code(chief.patch(address, 3, b"")) == (404, "upload_not_found")
    assert code(chief.delete(address)) == (404, "upload_not_found")
    assert code(chief.create(3, "b.dcm", set_id)) == (404, "upload_not_found")
    # There is no viewer here: whoever may look at it gets as far as the viewer.
    for name, ordered, looked_at in (("chief", 404, 404), ("clerk", 202, 503)):
        answer = keyed.post("/v1/orders", json=body, headers={"X-API-Key": KEYS[name]})
        assert answer.status_code == ordered, answer.text
        looked = {"source": {"type": "upload", "upload": set_id}}
        answer = keyed.post("/v1/slides", json=looked, headers={"X-API-Key": KEYS[name]})
        assert answer.status_code == looked_at, answer.text
    assert code(reader.create(3)) == (403, "key_refused")
    assert code(TusCaller(keyed).create(3)) == (401, "key_missing")
    assert clerk.offset(address) == 3


def test_orders_name_whole_uploads_only(
    api: TestClient, tus: TusCaller, order_body: OrderBody
) -> None:
    """Unknown ones, unfinished ones and what is no id are refused with the field and what to do."""

    def order(upload: str) -> Any:
        scan = {"id": "1", "source": {"type": "upload", "upload": upload}}
        return api.post("/v1/orders", json=order_body(scans=[scan]))

    begun = tus.create(5).headers
    assert code(order("0" * 32)) == (404, "upload_not_found")
    assert code(order("../../etc/passwd")) == (422, "request_invalid")
    for upload in (begun["upload-set"], id_of(begun["location"])):
        answer = order(upload)
        assert code(answer) == (409, "upload_incomplete")
        problem = answer.json()
        assert problem["field"] == "scans[0].source.upload"
        assert "HEAD" in problem["hint"]
    tus.patch(begun["location"], 0, b"abcde")
    for upload in (begun["upload-set"], id_of(begun["location"])):
        assert order(upload).status_code == 202


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("a.svs", "a.svs"),
        ("../../etc/passwd", f"_~{sha12('..')}/_~{sha12('..')}/etc/passwd"),
        ("/abs/a.svs", "abs/a.svs"),
        ("C:\\slides\\a.svs", f"C_~{sha12('C:')}/slides/a.svs"),
        (CONTROLS, f"a_b__svs_exe~{sha12(CONTROLS)}"),
        (".hidden/..ssh", f"hidden~{sha12('.hidden')}/_ssh~{sha12('..ssh')}"),
        ("..", f"_~{sha12('..')}"),
        ("", "file"),
        ("one/two/three/four/five/six.dcm", "one/two/three/four/five/six.dcm"),
        ("Gro\u0308\u00dfe.mrxs", "Gr\u00f6\u00dfe.mrxs"),
        ("x" * 300 + ".svs", "x" * 99 + f"~{sha12('x' * 300)}.svs"),
        (LETTERS, "\u00e9" * 49 + f"~{sha12(LETTERS)}"),
    ],
    ids=[
        *("plain", "parents", "absolute", "windows", "controls", "hidden", "dots", "nothing"),
        *("deep", "nfd", "long", "long_letters"),
    ],
)
def test_a_name_never_leads_out(tus: TusCaller, folder: Path, given: str, used: str) -> None:
    """What is left of it lies below the folder of its set, and the caller gets its own back."""
    assert str(safe_name(given)) == used
    created = tus.create(1, given)
    assert created.status_code == 201
    below = folder / created.headers["upload-set"] / "files"
    assert [str(path.relative_to(below)) for path in below.rglob("*") if path.is_file()] == [used]
    assert tus.head(created.headers["location"]).headers["upload-metadata"] == metadata(
        filename=given
    )


def test_a_file_is_replaced_by_one_of_its_name(tus: TusCaller, uploads: Uploads) -> None:
    """A caller whose answer was lost creates it again; a folder of that name is refused."""
    first = tus.create(5, "case/a.dcm").headers
    set_id = first["upload-set"]
    tus.patch(first["location"], 0, b"abc")
    second = tus.create(3, "case/a.dcm", set_id).headers["location"]
    assert tus.head(first["location"]).status_code == 404
    assert tus.offset(second) == 0
    tus.patch(second, 0, b"xyz")
    assert uploads.slide_path(set_id).read_bytes() == b"xyz"
    assert code(tus.create(3, "case", set_id)) == (422, "request_invalid")
    assert code(tus.create(3, "case/a.dcm/b", set_id)) == (422, "request_invalid")


def test_the_index_of_several_files_is_opened(tus: TusCaller, uploads: Uploads) -> None:
    """An .mrxs, whatever is larger; without one the largest; one file of many is deleted alone."""
    sent = {"S1.mrxs": b"jpg", "S1/Slidedat.ini": b"[GENERAL]", "S1/Data0000.dat": os.urandom(99)}
    set_id = ""
    for name, content in sent.items():
        address = tus.send(content, name, set_id)
        set_id = set_id or uploads.set_id(id_of(address))
    assert uploads.slide_path(set_id).name == "S1.mrxs"
    assert (uploads.slide_path(set_id).with_suffix("") / "Slidedat.ini").is_file()
    assert tus.delete(address).status_code == 204
    assert {file.name.name for file, _ in uploads.files(set_id)} == {"S1.mrxs", "Slidedat.ini"}
    assert tus.head(f"/v1/uploads/{set_id}").status_code == 404
    assert tus.delete(f"/v1/uploads/{set_id}").status_code == 204


def test_a_slide_has_no_more_files_than_are_read(
    tus: TusCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """422 for one more."""
    monkeypatch.setattr("broker.uploads.limits.MAX_FILES", 3)
    set_id = tus.create(1, "0.dcm").headers["upload-set"]
    answers = [tus.create(1, f"{number}.dcm", set_id) for number in range(1, 4)]
    assert [answer.status_code for answer in answers] == [201, 201, 422]
