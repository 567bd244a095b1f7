"""A model folder is fetched whole, checked, or not at all."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from demo.faults import Faults
from demo.http_server import Answer, Request, Server
from slidelane.commands import fetch_algorithm
from slidelane.commands.fetch_algorithm import NETWORKS
from slidelane.commands.fetch_algorithm import fetch_algorithm as fetch
from slidelane.commands.worker_process import CommandError
from worker.algorithms.model_folder.reading import DEFAULT_FILES

NETWORK = b"the bytes of a network"
DESCRIPTION = json.dumps({"slidelane": 1, "output": "tiles"}).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def a_tar(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.linkname = "/etc/passwd"
        if kind == tarfile.REGTYPE:
            member.size = len(DESCRIPTION)
        archive.addfile(member, io.BytesIO(DESCRIPTION))
    return file.getvalue()


GOOD = a_zip(**{"my-model/model.json": DESCRIPTION, "my-model/torchscript_model.pt": NETWORK})


class Shelf(Server):
    """Serves one archive, and redirects to another host without encryption."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, self.take, Faults())
        self.url = f"http://127.0.0.1:{self.server_port}"

    def take(self, request: Request) -> Answer:
        if request.path == "/model.zip":
            return Answer(200, GOOD)
        if request.path == "/elsewhere":
            return Answer(302, headers={"Location": "http://models.example/model.zip"})
        return Answer(404)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    server = Shelf()
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.close()
    thread.join()


def test_the_only_folder_of_an_archive_becomes_the_model_folder(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Over HTTP from this machine; what was fetched is there whole, and nothing beside it."""
    target = tmp_path / "models" / "mine"
    assert fetch(f"{shelf.url}/model.zip?signature=s3cret", sha256(GOOD), target) == "model.json"
    assert (target / "torchscript_model.pt").read_bytes() == NETWORK
    assert [path.name for path in target.parent.iterdir()] == ["mine"]


def test_another_sha256_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    """Both are said, so that a wrong copy of the right number is seen."""
    with pytest.raises(CommandError, match=f"{sha256(GOOD)}.*{'0' * 64}"):
        fetch(f"{shelf.url}/model.zip", "0" * 64, tmp_path / "mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://models.example/model.zip?key=s3cret", "over https"),
        ("ftp://models.example/model.zip?key=s3cret", "over https"),
        ("{shelf}/elsewhere?key=s3cret", "over https"),
        ("{shelf}/missing?key=s3cret", "404"),
    ],
)
def test_an_address_that_cannot_be_trusted_is_refused(
    shelf: Shelf, tmp_path: Path, address: str, message: str
) -> None:
    """Also behind a redirect; the query of an address is never repeated."""
    with pytest.raises(CommandError, match=message) as error:
        fetch(address.format(shelf=shelf.url), sha256(GOOD), tmp_path / "mine")
    assert "s3cret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (a_zip(**{"../model.json": DESCRIPTION}), "leads out"),
        (a_zip(**{"/etc/model.json": DESCRIPTION}), "leads out"),
        (a_tar("../../model.json"), "leads out"),
        (a_tar("model.json", tarfile.SYMTYPE), "no ordinary file"),
        (a_tar("model.json", tarfile.FIFOTYPE), "no ordinary file"),
        (a_zip(**{"notes.txt": b"hello"}), "no model folder"),
        (b"neither zip nor tar", "no zip or tar"),
        (GOOD[: len(GOOD) // 2], "no zip or tar"),
    ],
    ids=["above", "absolute", "above-tar", "link", "pipe", "no-model", "text", "half"],
)
def test_a_hostile_or_damaged_archive_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """Nothing of it stays, in the folder or outside of it."""
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with pytest.raises(CommandError, match=message):
        fetch(str(archive), sha256(content), tmp_path / "models" / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "models"]
    assert list((tmp_path / "models").iterdir()) == []


def test_an_archive_that_grows_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is on what comes out of it."""
    monkeypatch.setattr(fetch_algorithm, "MOST_BYTES", 10**6)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", bytes(10**7))
    (tmp_path / "bomb.zip").write_bytes(file.getvalue())
    with pytest.raises(CommandError, match="more than 1,000,000 bytes"):
        fetch(str(tmp_path / "bomb.zip"), sha256(file.getvalue()), tmp_path / "mine")


def test_of_a_folder_the_network_is_compared(tmp_path: Path) -> None:
    """As `sha256` of worker.algorithms does; links are not followed."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.json").write_text('{"slidelane": 1, "file": "net.pt"}')
    (source / "net.pt").write_bytes(NETWORK)
    (source / "passwords").symlink_to("/etc/passwd")
    fetch(str(source), sha256(NETWORK).upper(), tmp_path / "mine")
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == ["model.json", "net.pt"]
    with pytest.raises(CommandError, match="exists already"):
        fetch(str(source), sha256(NETWORK), tmp_path / "mine")


def test_networks_are_looked_for_under_the_worker_s_names() -> None:
    """The command line imports nothing of the worker, so the names stand there twice."""
    assert DEFAULT_FILES == NETWORKS
