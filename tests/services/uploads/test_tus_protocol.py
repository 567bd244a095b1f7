"""What tus 1.0.0 says that a server answers, in process."""

import os
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from broker.settings.config import Config
from tests.support.tus import OCTETS, TUS, TusCaller, id_of, metadata

CONTENT = os.urandom(3_000_000)


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.status_code, answer.json()["code"]


def test_options_tell_version_extensions_and_size(api: TestClient) -> None:
    """Without Tus-Resumable, as the protocol says; of one upload the same."""
    for path in ("/v1/uploads", f"/v1/uploads/{'0' * 32}"):
        answer = api.options(path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-extension"] == "creation,termination,expiration"
        assert answer.headers["tus-max-size"] == str(50 * 10**9)


def test_a_file_is_sent_in_pieces(tus: TusCaller, uploads: Any, config: Config) -> None:
    """201 with a Location, offsets that grow, and in the end the bytes as they were sent."""
    created = tus.create(len(CONTENT))
    assert created.status_code == 201
    address = created.headers["location"]
    for begin in range(0, len(CONTENT), 1_100_000):
        piece = CONTENT[begin : begin + 1_100_000]
        answer = tus.patch(address, begin, piece)
        assert answer.status_code == 204
        assert answer.headers["upload-offset"] == str(begin + len(piece))
        assert answer.headers["tus-resumable"] == "1.0.0"
        lasts_s = parsedate_to_datetime(answer.headers["upload-expires"]).timestamp() - time.time()
        assert abs(lasts_s - config.services.uploads.keep_s) < 60
    assert uploads.slide_path(id_of(address)).read_bytes() == CONTENT


def test_head_says_how_far_it_is(tus: TusCaller) -> None:
    """Offset, length and metadata; nobody may store the answer."""
    created = tus.create(10, "ward 7/é.svs")
    address = created.headers["location"]
    tus.patch(address, 0, b"abc")
    answer = tus.head(address)
    assert answer.status_code == 200
    assert answer.content == b""
    shown = [answer.headers[name] for name in ("upload-offset", "upload-length", "cache-control")]
    assert shown == ["3", "10", "no-store"]
    assert answer.headers["upload-metadata"] == metadata(filename="ward 7/é.svs")
    assert answer.headers["upload-set"] == created.headers["upload-set"]


def test_another_version_is_refused(api: TestClient, tus: TusCaller) -> None:
    """412 with the version that is spoken, whatever the method and also without the header."""
    address = tus.create(3).headers["location"]
    for method, path in (
        ("POST", "/v1/uploads"),
        ("HEAD", address),
        ("PATCH", address),
        ("DELETE", address),
    ):
        for headers in ({}, {"Tus-Resumable": "0.2.2"}):
            answer = api.request(method, path, headers=headers)
            assert answer.status_code == 412
            assert answer.headers["tus-version"] == "1.0.0"
    assert tus.offset(address) == 0


def test_an_offset_that_is_not_the_end_is_refused(tus: TusCaller) -> None:
    """409 before and behind the end; what is there stays."""
    address = tus.create(6).headers["location"]
    tus.patch(address, 0, b"abc")
    for offset in (0, 2, 4):
        assert problem(tus.patch(address, offset, b"xyz")) == (409, "upload_offset_wrong")
    assert tus.offset(address) == 3


@pytest.mark.parametrize("declares", [True, False], ids=["declared", "chunked"])
def test_more_than_announced_is_refused(tus: TusCaller, uploads: Any, declares: bool) -> None:
    """413, whether Content-Length says so or not; an upload that is whole takes nothing more."""
    address = tus.send(b"abc")
    begun = tus.create(3).headers["location"]
    content: Any = b"xyzw" if declares else iter([b"xy", b"zw"])
    assert problem(tus.patch(begun, 0, content)) == (413, "upload_too_large")
    assert problem(tus.patch(address, 3, b"d")) == (413, "upload_too_large")
    assert tus.patch(address, 3, b"").status_code == 204
    assert uploads.slide_path(id_of(address)).read_bytes() == b"abc"


def test_an_upload_of_no_bytes_is_whole_at_once(tus: TusCaller, uploads: Any) -> None:
    """What an order of it is told is the reader's matter."""
    address = tus.send(b"")
    assert tus.offset(address) == 0
    assert uploads.slide_path(id_of(address)).read_bytes() == b""


def test_a_deleted_upload_is_gone(tus: TusCaller, folder: Path) -> None:
    """204 once, then 404 for everything; nothing is left on the disk."""
    address = tus.send(CONTENT)
    assert tus.delete(address).status_code == 204
    assert tus.head(address).status_code == 404
    assert problem(tus.patch(address, 0, b"x")) == (404, "upload_not_found")
    assert problem(tus.delete(address)) == (404, "upload_not_found")
    assert [path.name for path in folder.iterdir()] == ["lock"]


@pytest.mark.parametrize(
    ("header", "value", "status", "code"),
    [
        ("Upload-Length", "", 400, "request_malformed"),
        ("Upload-Length", "-1", 400, "request_malformed"),
        ("Upload-Length", "1e3", 400, "request_malformed"),
        ("Upload-Length", "9" * 30, 400, "request_malformed"),
        ("Upload-Length", str(50 * 10**9 + 1), 413, "upload_too_large"),
        ("Upload-Metadata", "filename Ä", 400, "request_malformed"),
        ("Upload-Metadata", "filename a,filename b", 400, "request_malformed"),
        ("Upload-Metadata", "filename " + "A" * 5000, 400, "request_malformed"),
    ],
)
def test_headers_that_say_nothing_are_refused(
    tus: TusCaller, header: str, value: str, status: int, code: str
) -> None:
    """With the header's name, before anything is made."""
    answer = tus.create(5, **{header: value.encode("latin-1")})  # type: ignore[arg-type]
    assert problem(answer) == (status, code)


def test_bytes_are_declared_as_such(tus: TusCaller) -> None:
    """A PATCH of another type is 415, one without an offset 400."""
    address = tus.create(3).headers["location"]
    answer = tus.patch(address, 0, b"abc", **{"Content-Type": "image/tiff"})
    assert problem(answer) == (415, "media_type_unsupported")
    answer = tus.patch(address, 0, b"abc", **{"Upload-Offset": "x"})
    assert problem(answer) == (400, "request_malformed")


def test_a_post_may_stand_for_another_method(api: TestClient, tus: TusCaller, uploads: Any) -> None:
    """X-HTTP-Method-Override, for callers whose way lets only GET and POST pass."""
    address = tus.create(3).headers["location"]
    sent = {"Upload-Offset": "0", "Content-Type": OCTETS, "X-HTTP-Method-Override": "PATCH"}
    assert api.post(address, content=b"abc", headers=TUS | sent).status_code == 204
    assert uploads.slide_path(id_of(address)).read_bytes() == b"abc"
    removal = {"X-HTTP-Method-Override": "DELETE"}
    assert api.post(address, headers=TUS | removal).status_code == 204
    assert tus.head(address).status_code == 404


def test_other_methods_are_named(api: TestClient, tus: TusCaller) -> None:
    """405 with what is answered at the address."""
    address = tus.create(3).headers["location"]
    answer = api.get(address, headers=TUS)
    assert problem(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, HEAD, OPTIONS, PATCH"
