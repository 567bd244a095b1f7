"""`slidelane order` sends slides that the service cannot read, and goes on after cuts."""

import fcntl
import os
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import BaseHandler, Request

import pytest

from broker.data_folder import make_private
from broker.order_store import OrderStore
from broker.settings.config import BrokerSettings, Config, load
from broker.uploads import Uploads
from broker.uploads.sets import UploadSets
from slidelane.commands.order_api import OrderApi
from slidelane.commands.pending_keys import PendingKeys
from slidelane.commands.upload.client import UploadClient, UploadRefusedError
from slidelane.commands.upload.pending import PendingUploads
from slidelane.commands.upload.slide_files import SlideUnreadableError, files_of
from tests.support.api_server import BreakingWay, served_api

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def config(broker_settings: BrokerSettings) -> Config:
    limits = {"uploads": {"max_bytes": 10**7}}
    return load(broker=broker_settings.model_dump(), services=limits)


@pytest.fixture
def uploads(config: Config) -> Uploads:
    return Uploads(config.broker.uploads_folder)


@pytest.fixture
def port(config: Config, store: OrderStore) -> Iterator[int]:
    with served_api(config, store) as number:
        yield number


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "slides" / "S26-1234.svs"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


class SeenAnswers(BaseHandler):
    """The answers that a client gets: method and status of each.

    With the second the folder of uploads is free, where it was locked.
    """

    handler_order = 1  # before what makes errors of them

    def __init__(self, unlock: Callable[[], None] | None = None) -> None:
        self.answers: list[tuple[str, int]] = []
        self._unlock = unlock

    def http_response(self, request: Request, response: HTTPResponse) -> HTTPResponse:
        """Take note of an answer."""
        self.answers.append((request.get_method(), response.status))
        if self._unlock is not None and len(self.answers) == 2:
            self._unlock()
        return response


def client(
    port: int, state: Path, seen: SeenAnswers | None = None, patience_s: float = 600
) -> UploadClient:
    api = OrderApi(f"http://127.0.0.1:{port}", PendingKeys(state / "orders"))
    if seen is not None:
        api.opener.add_handler(seen)
    return UploadClient(api, PendingUploads(state / "uploads"), patience_s)


@pytest.fixture
def unlock(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lock the folder of uploads, as another process would, until the test calls this."""
    monkeypatch.setattr(UploadSets.locked.__wrapped__, "__defaults__", (0.1,))  # type: ignore[attr-defined]
    make_private(config.broker.uploads_folder)
    with (config.broker.uploads_folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def test_a_slide_arrives_over_a_way_that_breaks(
    port: int, uploads: Uploads, slide: Path, tmp_path: Path
) -> None:
    """Cut twice in the middle; what came is not sent again."""
    with BreakingWay(port, cuts=2, after_bytes=1_000_000) as way:
        upload = client(way.port, tmp_path).send(slide, "a slide")
        assert way.cuts == 0
        assert way.passed_bytes < len(CONTENT) + 1_000_000
    assert uploads.slide_path(upload).read_bytes() == CONTENT


def test_a_folder_that_others_lock_is_waited_for(
    port: int, uploads: Uploads, slide: Path, tmp_path: Path, unlock: Callable[[], None]
) -> None:
    """503 `uploads_locked` passes: the upload begins once the lock is free."""
    seen = SeenAnswers(unlock)
    upload = client(port, tmp_path, seen).send(slide, "a slide")
    assert uploads.slide_path(upload).read_bytes() == CONTENT
    assert seen.answers == [("POST", 503), ("POST", 503), ("POST", 201), ("PATCH", 204)]


@pytest.mark.usefixtures("unlock")
def test_a_folder_that_stays_locked_is_told(port: int, slide: Path, tmp_path: Path) -> None:
    """In the words of the service, once the patience is over."""
    with pytest.raises(UploadRefusedError) as caught:
        client(port, tmp_path, patience_s=0).send(slide, "a slide")
    assert caught.value.answer.body["code"] == "uploads_locked"
    assert caught.value.answer.body["hint"]


def test_a_way_that_breaks_before_anything_came_is_tried_again(
    port: int, uploads: Uploads, slide: Path, tmp_path: Path
) -> None:
    """When the upload begins, and when the command asks how far an earlier one is."""
    with BreakingWay(port, cuts=0, after_bytes=0) as way:
        for answers in (["POST", "PATCH"], ["HEAD"]):
            way.cuts = 2
            seen = SeenAnswers()
            upload = client(way.port, tmp_path, seen).send(slide, "a slide")
            assert way.cuts == 0
            assert [method for method, _ in seen.answers] == answers
            assert uploads.slide_path(upload).read_bytes() == CONTENT


def test_a_command_that_is_repeated_sends_nothing_twice(
    port: int, uploads: Uploads, slide: Path, tmp_path: Path
) -> None:
    """The same files are the same upload, until one of them changes or the upload is gone."""
    first = client(port, tmp_path).send(slide, "a slide")
    assert client(port, tmp_path).send(slide, "a slide") == first
    slide.write_bytes(CONTENT + b"x")
    second = client(port, tmp_path).send(slide, "a slide")
    assert second != first
    uploads.delete(second, "anybody on loopback")
    third = client(port, tmp_path).send(slide, "a slide")
    assert uploads.slide_path(third).read_bytes() == CONTENT + b"x"
    assert all("S26" not in path.name for path in (tmp_path / "uploads").iterdir())


def test_all_files_of_a_slide_are_sent(
    port: int, uploads: Uploads, slide: Path, tmp_path: Path
) -> None:
    """An .mrxs with its folder, a DICOM file with its series; nothing else that lies beside."""
    folder = slide.parent
    (folder / "B.mrxs").write_bytes(b"preview")
    (folder / "B").mkdir()
    (folder / "B" / "Slidedat.ini").write_bytes(b"[GENERAL]")
    for litter in (".DS_Store", "._Slidedat.ini", "Thumbs.db", "desktop.ini"):
        (folder / "B" / litter).write_bytes(b"x")
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(b"d" * (number + 1))
    mirax = client(port, tmp_path).send(folder / "B.mrxs", "B")
    names = {str(file.name) for file, _ in uploads.files(mirax)}
    assert names == {"B.mrxs", "B/Slidedat.ini"}
    series = client(port, tmp_path).send(folder / "1.dcm", "a series")
    assert {str(file.name) for file, _ in uploads.files(series)} == {"0.dcm", "1.dcm", "2.dcm"}
    assert [file.name for file in files_of(slide)] == ["S26-1234.svs"]


def test_what_the_service_does_not_take_is_told(port: int, slide: Path, tmp_path: Path) -> None:
    """Its own words, at once; a file that is not there too."""
    slide.write_bytes(bytes(10**7 + 1))
    with pytest.raises(UploadRefusedError) as caught:
        client(port, tmp_path).send(slide, "a slide")
    assert caught.value.answer.body["code"] == "upload_too_large"
    with pytest.raises(SlideUnreadableError, match="cannot be read"):
        client(port, tmp_path).send(slide.with_name("none.svs"), "a slide")
