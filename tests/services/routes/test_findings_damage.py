"""Archives of findings that are damaged, and those in a bucket."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pmtiles.tile import Entry, deserialize_header, serialize_directory, serialize_header

from broker.file_storage import open_storage
from broker.file_storage.folder import FolderStorage
from broker.order_store import OrderStore
from broker.settings.config import Config, load
from services.app import create_app
from services.responses.findings_archive import FindingsArchives
from tests.support.findings_results import classified_scan
from tests.support.findings_tiles import FindingsReader
from tests.support.s3 import BUCKET, S3Server, by_environment

HEADER_BYTES = 127
BOMB = gzip.compress(bytes(2**24))


@pytest.fixture
def scan(config: Config, announced: OrderStore) -> tuple[str, Path]:
    return classified_scan(announced, open_storage(config.broker))


def rebuilt(content: bytes, root: bytes, metadata: bytes | None = None) -> bytes:
    """The archive with another root directory, and other metadata."""
    header = deserialize_header(content[:HEADER_BYTES])
    tiles = content[header["tile_data_offset"] :]
    if metadata is None:
        start = header["metadata_offset"]
        metadata = content[start : start + header["metadata_length"]]
    header["root_length"] = len(root)
    header["metadata_offset"] = HEADER_BYTES + len(root)
    header["metadata_length"] = len(metadata)
    header["leaf_directory_offset"] = header["metadata_offset"] + len(metadata)
    header["tile_data_offset"] = header["leaf_directory_offset"]
    return bytes(serialize_header(header)) + root + metadata + tiles  # type: ignore[no-untyped-call]


def directory(*entries: Entry) -> bytes:
    return bytes(serialize_directory(entries))


def with_metadata(content: bytes, metadata: bytes) -> bytes:
    header = deserialize_header(content[:HEADER_BYTES])
    root = content[HEADER_BYTES : HEADER_BYTES + header["root_length"]]
    return rebuilt(content, root, gzip.compress(metadata))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _content: b"",
    "another file": lambda content: b"{}" + content,
    "cut in its header": lambda content: content[:100],
    "cut in its root": lambda content: content[:140],
    "cut in its tiles": lambda content: content[:-100_000],
    "another version": lambda content: content[:7] + b"\x04" + content[8:],
    "unknown packing": lambda content: content[:97] + b"\x63" + content[98:],
    "not packed": lambda content: content[:97] + b"\x01" + content[98:],
    "root overwritten": lambda content: content[:130] + bytes(40) + content[170:],
    "root that unpacks to 16 MiB": lambda content: rebuilt(content, BOMB),
    "root of a billion entries": lambda content: rebuilt(
        content, gzip.compress(b"\xff\xff\xff\xff\x0f")
    ),
    "tile behind the end": lambda content: rebuilt(content, directory(Entry(0, 2**40, 10, 1))),
    "leaf that is missing": lambda content: rebuilt(content, directory(Entry(0, 0, 10, 0))),
    "metadata that are no JSON": lambda content: with_metadata(content, b"{"),
    "metadata of another kind": lambda content: with_metadata(content, b"[]"),
    "no width": lambda content: with_metadata(content, b'{"height":1,"T":1024,"Z":0}'),
    "endless zooms": lambda content: with_metadata(
        content, b'{"width":1,"height":1,"T":1024,"Z":999999999}'
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_archive_is_a_problem_that_says_so(
    api: TestClient, scan: tuple[str, Path], damage: str
) -> None:
    """Not a bug, not half a tile, and without unpacking more than a directory can be."""
    path, folder = scan
    file = folder / "findings.pmtiles"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    answer = api.get(f"{path}/findings/0/0/0")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "result_damaged")
    assert problem["detail"].startswith("findings.pmtiles is damaged: ")
    assert "features.geojson" in problem["hint"]


class CountingStorage(FolderStorage):
    """A folder that notes which ranges are read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, is_mounted=False)
        self.reads: list[tuple[int, int]] = []

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        self.reads.append((start, end))
        return super().read(key, start, end)


def test_directories_are_read_once(config: Config, scan: tuple[str, Path]) -> None:
    """A tile takes one read: what was looked up before is not looked up again."""
    storage = CountingStorage(open_storage(config.broker).folder)
    file = scan[1] / "findings.pmtiles"
    key = str(file.relative_to(storage.folder))
    places = list(FindingsReader.of(file, 9000, 5000).tiles)[:5]
    tiles = FindingsArchives(storage)
    lengths = [len(tiles.tile(key, *place)[1]) for place in places]
    assert storage.reads[0] == (0, min(16384, file.stat().st_size))
    assert [end - start for start, end in storage.reads[1:]] == lengths


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with by_environment() as server:
        yield server


def test_tiles_come_from_a_bucket_too(
    config: Config, server: S3Server, announced: OrderStore
) -> None:
    """By ranges of the object, with links, tags and empty places as from a folder."""
    stored = config.broker.model_dump() | {"storage": f"s3://{BUCKET}"}
    away = load(**config.model_dump() | {"broker": stored})
    storage = open_storage(away.broker)
    path, folder = classified_scan(announced, storage)
    assert not folder.exists()
    api = TestClient(
        create_app(away, announced), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 50000)
    )
    document = api.get(f"{path}/findings.json").json()
    assert (document["Z"], document["width"]) == (4, 9000)
    reader = FindingsReader(api.get(f"{path}/findings.pmtiles").content, 9000, 5000)
    for place in list(reader.tiles)[:8]:
        zoom, x, y = place
        answer = api.get(f"{path}/findings/{zoom}/{x}/{y}")
        assert (answer.status_code, answer.content) == (200, reader.tiles[place])
    tag = answer.headers["etag"]
    again = api.get(str(answer.url), headers={"If-None-Match": tag})
    assert again.status_code == 304
    storage.delete(path.split("/")[3])
    gone = api.get(f"{path}/findings/0/0/0")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
