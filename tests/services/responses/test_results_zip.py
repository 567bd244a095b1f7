"""The archive of a scan's files: what is in it, its length, and parts of it."""

import io
import zipfile
from pathlib import Path

import pytest

from broker.file_storage.folder import FolderStorage
from services.responses.results_zip import ResultsZip, ZippedFile

CONTENT = {"b.json": b"{}", "a.csv": bytes(range(256)) * 30_000, "empty.geojson": b""}


@pytest.fixture
def archive(tmp_path: Path) -> ResultsZip:
    storage = FolderStorage(tmp_path, is_mounted=False)
    files = []
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
        stored = storage.find(name)
        assert stored
        files.append(ZippedFile(name, name, stored))
    return ResultsZip(storage, files)


def whole(archive: ResultsZip) -> bytes:
    return b"".join(archive.read(0, archive.size_bytes))


def test_it_holds_the_files_in_the_order_of_their_names(archive: ResultsZip) -> None:
    """Unpacked they are the same bytes, with no time of day; its length was known before."""
    content = whole(archive)
    assert len(content) == archive.size_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as unzipped:
        assert unzipped.namelist() == sorted(CONTENT)
        assert unzipped.testzip() is None
        assert {name: unzipped.read(name) for name in CONTENT} == CONTENT
        assert {info.date_time for info in unzipped.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert whole(archive) == content


def test_it_is_read_in_parts(archive: ResultsZip) -> None:
    """Any range is that of the whole, and no part is much larger than one read of a file."""
    content = whole(archive)
    for start, end in ((0, 1), (5, 70), (29, 4_500_000), (len(content) - 40, len(content))):
        assert b"".join(archive.read(start, end)) == content[start:end]
    assert max(map(len, archive.read(0, len(content)))) < 2**22 + 200


def test_its_length_is_right_where_numbers_need_64_bits(
    archive: ResultsZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checked with a limit of a few bytes instead of 2 GiB, for each kind of number."""
    for limit in (0, 1, 100, 7_679_999, 7_680_000, 7_680_100):
        monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
        again = ResultsZip(archive._storage, archive._files)
        content = whole(again)
        assert len(content) == again.size_bytes, limit
        with zipfile.ZipFile(io.BytesIO(content)) as unzipped:
            assert unzipped.testzip() is None
