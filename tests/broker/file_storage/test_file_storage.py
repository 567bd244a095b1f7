"""What every storage must do: a folder, and a bucket on a real S3-compatible server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from broker.file_storage import open_storage
from broker.file_storage.folder import FolderStorage
from broker.file_storage.interface import Storage
from broker.file_storage.s3 import S3Storage
from broker.settings.config import BrokerSettings, ConfigError, load
from tests.support.s3 import BUCKET, SECRET, S3Server, by_environment
from worker.progress import StopWork

RESULT = {
    "findings/about.json": b"{}",
    "findings/points": b"",
    "overlay.png": bytes(range(256)) * 40_000,
}


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with by_environment() as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, server: S3Server, tmp_path: Path) -> Storage:
    """A storage that nothing was put into yet."""
    if request.param == "folder":
        return FolderStorage(tmp_path / "shared", is_mounted=False)
    return S3Storage(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "unsent")


def make(storage: Storage, key: str, content: bytes) -> None:
    path = storage.folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def share_result(storage: Storage, order_id: str = "a1") -> str:
    key = f"results/{order_id}/0.3"
    for name, content in RESULT.items():
        make(storage, f"{key}/{name}", content)
    storage.share(key, lambda _done, _total: None)
    return key


def test_a_folder_that_was_shared_is_copied_back_byte_for_byte(storage: Storage) -> None:
    """Every file of it, empty ones too, in a folder of its last name."""
    key = share_result(storage)
    with storage.local_copy(key) as folder:
        assert folder.name == "0.3"
        assert {name: (folder / name).read_bytes() for name in RESULT} == RESULT
    with storage.local_copy(f"{key}/findings") as findings:
        assert sorted(path.name for path in findings.iterdir()) == ["about.json", "points"]


def test_a_file_is_found_and_read_in_part_and_in_pieces(storage: Storage) -> None:
    """Its size is known; a range of more than one piece is joined without a seam; a folder is no
    file."""
    key, whole = share_result(storage), RESULT["overlay.png"]
    found = storage.find(f"{key}/overlay.png")
    assert found
    assert found.size_bytes == len(whole)
    assert b"".join(storage.read(f"{key}/overlay.png", 300, 9_000_001)) == whole[300:9_000_001]
    assert storage.find(key) is None
    assert storage.find(f"{key}/results.json") is None


def test_what_was_shared_is_overwritten_as_a_whole(storage: Storage) -> None:
    """A payload that is made once more takes the first one's place."""
    for content in (b"one", b"two"):
        make(storage, "parcels/a1.0f", content)
        storage.share("parcels/a1.0f", lambda _done, _total: None)
    with storage.local_copy("parcels/a1.0f") as path:
        assert (path.name, path.read_bytes()) == ("a1.0f", b"two")


def test_what_the_record_names_and_nobody_finds_is_waited_for(storage: Storage) -> None:
    """A share that is not mounted looks like this; it is worth another try, and says what is
    missing."""
    storage.folder.mkdir(exist_ok=True)
    with (
        pytest.raises(TemporaryError, match=r"no results/a1/0\.9") as fault,
        storage.local_copy("results/a1/0.9"),
    ):
        pass
    assert fault.value.code == "storage_unreachable"


def test_what_is_removed_is_gone_alone(storage: Storage) -> None:
    """A file, or a folder with all that is in it; a key that begins alike stays, as do others."""
    key = share_result(storage)
    for other in ("results/a1/0.30/overlay.png", "results/a1/0.4/overlay.png", "parcels/a1.0f"):
        make(storage, other, b"other")
        storage.share(other, lambda _done, _total: None)
    storage.remove(key)
    storage.remove("parcels/a1.0f")
    storage.remove("results/a1/0.9")
    assert not any(storage.find(f"{key}/{name}") for name in RESULT)
    assert storage.find("parcels/a1.0f") is None
    assert storage.find("results/a1/0.30/overlay.png")
    assert storage.find("results/a1/0.4/overlay.png")


@pytest.mark.parametrize(
    "key",
    ["../a", "results/../../etc", "/etc/passwd", "results//a", "a\n", "", "a?versionId=1", "."],
)
def test_a_key_never_leads_out_of_the_storage(storage: Storage, key: str) -> None:
    """Whatever a record may come to hold."""
    with pytest.raises(ValueError, match="names with slashes"):
        storage.find(key)
    with pytest.raises(ValueError, match="names with slashes"), storage.local_copy(key):
        pass


def test_nothing_of_a_bucket_stays_on_the_disk(server: S3Server, tmp_path: Path) -> None:
    """What was shared and what was copied are gone from this machine; another finds them."""
    one, other = (
        S3Storage(f"s3://{BUCKET}/{tmp_path.name}/", tmp_path / name) for name in ("one", "other")
    )
    key = share_result(one)
    with other.local_copy(key) as folder:
        assert (folder / "overlay.png").stat().st_size == len(RESULT["overlay.png"])
    assert [
        path for name in ("one", "other") for path in (tmp_path / name).rglob("*") if path.is_file()
    ] == []
    assert server.below(tmp_path.name) == {f"{key}/{name}" for name in RESULT}


def test_a_bucket_forgets_an_order_and_no_other(server: S3Server, tmp_path: Path) -> None:
    """Results of every attempt and the payload go; those of an order whose id begins alike stay."""
    bucket = S3Storage(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)
    for order_id in ("a1", "a12"):
        share_result(bucket, order_id)
        make(bucket, f"parcels/{order_id}.0f", b"parcel")
        bucket.share(f"parcels/{order_id}.0f", lambda _done, _total: None)
    bucket.delete("a1")
    assert server.below(tmp_path.name) == {
        "parcels/a12.0f",
        *(f"results/a12/0.3/{name}" for name in RESULT),
    }


def test_an_upload_ends_when_the_work_is_not_wanted(server: S3Server, tmp_path: Path) -> None:
    """It is called with every part; the files are removed, and no object appears for the last
    one."""
    bucket = S3Storage(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)
    make(bucket, "parcels/a1.0f", b"x" * (3 * 2**24))

    def cancelled(done: int, total: int) -> None:
        assert 0 < done < total == 3 * 2**24
        raise StopWork("cancel")

    with pytest.raises(StopWork):
        bucket.share("parcels/a1.0f", cancelled)
    assert server.below(tmp_path.name) == set()
    assert not (tmp_path / "parcels" / "a1.0f").exists()


@pytest.mark.parametrize("wrong", [{"url": "s3://elsewhere"}, {"port": "1"}])
def test_a_bucket_that_fails_is_worth_another_try_and_tells_no_secret(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str]
) -> None:
    """It is gone, or no server answers: both are errors, and not the answer that a file is
    missing."""
    if port := wrong.get("port"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:{port}")
    bucket = S3Storage(wrong.get("url", f"s3://{BUCKET}"), tmp_path)
    with pytest.raises(TemporaryError) as fault:
        bucket.find("results/a1/0.3/overlay.png")
    assert fault.value.code == "storage_unreachable"
    assert SECRET not in fault.value.detail + fault.value.hint


def test_a_mounted_folder_that_is_away_is_never_made(tmp_path: Path) -> None:
    """Else the disk below its mount point would fill, and the others would see nothing of it."""
    away = tmp_path / "share"
    away.mkdir()
    storage = open_storage(BrokerSettings(data=tmp_path / "data", storage=str(away)))
    away.rmdir()
    with pytest.raises(TemporaryError, match="is not there"):
        make(storage, "results/a1/0.3/overlay.png", b"")
    assert not away.exists()


def test_by_default_the_data_folder_is_the_storage(tmp_path: Path) -> None:
    """One machine needs no setting, and nothing is copied."""
    storage = open_storage(BrokerSettings(data=tmp_path))
    assert storage.folder == tmp_path
    make(storage, "parcels/a1.0f", b"x")
    with storage.local_copy("parcels/a1.0f") as path:
        assert path == tmp_path / "parcels" / "a1.0f"


@pytest.mark.parametrize(
    "named",
    [
        "s3://",
        "s3://key:s3cr3t@bucket",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket?x=s3cr3t",
        "ftp://a/s3cr3t",
    ],
)
def test_a_storage_that_is_none_stops_the_start(named: str) -> None:
    """The message names the key and both forms, and never repeats what may be a secret."""
    with pytest.raises(ConfigError, match=r"broker\.storage: .*s3://BUCKET/PREFIX") as fault:
        load(broker={"storage": named})
    assert "s3cr3t" not in str(fault.value)


def test_a_folder_that_is_missing_at_the_start_stops_it(tmp_path: Path) -> None:
    """The operator makes and mounts it."""
    with pytest.raises(ConfigError, match=r"no folder .*/nowhere"):
        open_storage(BrokerSettings(storage=str(tmp_path / "nowhere")))


def test_a_bucket_without_its_library_stops_the_start_with_what_to_install() -> None:
    """Only who uses one needs s3fs."""
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from broker.file_storage import open_storage; from broker.settings.config import BrokerSettings\n"
        "open_storage(BrokerSettings(storage='s3://bucket'))"
    )
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "pip install 'slidelane[s3]'" in tried.stderr.splitlines()[-1]
