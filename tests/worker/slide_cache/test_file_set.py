import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from tests.support.cache_holder import Held
from tests.support.slide_caches import files, put
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache

DIGEST, OTHER, THIRD = "d" * 64, "e" * 64, "f" * 64
KB = 1024


@pytest.fixture
def shelf(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 100 * KB)


def put_bundle(shelf: SlideCache, digest: str, size: int = 8 * KB, used_s: float = 0) -> Path:
    """Put a slide of two files on the shelf, each half of `size`; the path of its main file."""
    with shelf.bundle() as bundle:
        bundle.reserve(size)
        (bundle.folder / "slide").mkdir()
        (bundle.folder / "slide.mrxs").write_bytes(os.urandom(size // 2))
        (bundle.folder / "slide" / "Data.dat").write_bytes(os.urandom(size // 2))
        with shelf.put_bundle(bundle, "slide.mrxs", digest) as copy:
            os.utime(copy.path, (used_s, used_s))
            return copy.path


def test_the_files_of_a_slide_stay_beside_each_other_under_their_names(
    shelf: SlideCache, tmp_path: Path
) -> None:
    """The copy is the main file; what it looks for by name is where it looks."""
    put_bundle(shelf, DIGEST)
    with shelf.pinned(DIGEST) as copy:
        assert copy
        assert copy.path == tmp_path / "dd" / DIGEST / "files" / "slide.mrxs"
        assert (copy.digest, copy.bytes) == (DIGEST, 8 * KB)
        assert (copy.path.parent / "slide" / "Data.dat").stat().st_size == 4 * KB
    assert list((tmp_path / "parts").iterdir()) == []


def test_the_same_slide_is_kept_once(shelf: SlideCache) -> None:
    """The second bundle of one digest is dropped for the first."""
    first = put_bundle(shelf, DIGEST)
    content = first.read_bytes()
    assert put_bundle(shelf, DIGEST) == first
    assert first.read_bytes() == content


def test_holes_take_no_room(shelf: SlideCache) -> None:
    """A file of which only a part was written counts for the disk it takes, not for its length."""
    with shelf.bundle() as bundle:
        bundle.reserve(4 * KB)
        with (bundle.folder / "slide.tif").open("wb") as file:
            file.truncate(10**9)
            file.write(b"x" * 4 * KB)
        with shelf.put_bundle(bundle, "slide.tif", DIGEST) as copy:
            assert copy.bytes == 4 * KB
            assert copy.path.stat().st_size == 10**9
    put(shelf, b"x" * 96 * KB, used_s=10)
    assert shelf.has(DIGEST)


def test_eviction_takes_all_files_of_a_slide(shelf: SlideCache, tmp_path: Path) -> None:
    """Slides of one file and of several leave by their last use alike, and whole."""
    put_bundle(shelf, DIGEST, 40 * KB, used_s=10)
    single = put(shelf, b"b" * 40 * KB, used_s=20)
    put_bundle(shelf, OTHER, 40 * KB, used_s=30)
    assert [shelf.has(digest) for digest in (DIGEST, single, OTHER)] == [False, True, True]
    assert not (tmp_path / "dd" / DIGEST).exists()
    put_bundle(shelf, DIGEST, 40 * KB, used_s=40)
    assert not shelf.has(single)
    assert sorted(files(tmp_path)) == sorted(2 * ["Data.dat", "room", "slide", "slide.mrxs"])


def test_a_slide_in_use_or_waited_for_is_not_evicted(shelf: SlideCache) -> None:
    """A pin on the main file, or a promise to some work, keeps all the files."""
    put_bundle(shelf, DIGEST, 40 * KB, used_s=10)
    put_bundle(shelf, OTHER, 40 * KB, used_s=20)
    shelf.want(OTHER, "order.0")
    with shelf.pinned(DIGEST) as copy:
        assert copy
        os.utime(copy.path, (0, 0))
        shelf.discard(3600)
        with pytest.raises(TemporaryError) as caught:
            put_bundle(shelf, THIRD, 40 * KB)
    assert caught.value.code == "shelf_full"
    shelf.release(OTHER, "order.0")
    shelf.discard(3600)
    assert [shelf.has(digest) for digest in (DIGEST, OTHER)] == [False, False]


def test_a_bundle_on_its_way_holds_its_room(shelf: SlideCache) -> None:
    """What was reserved is nobody else's; when the bundle fails it is free again, and nothing is left."""

    def fail() -> None:
        with shelf.bundle() as bundle:
            bundle.reserve(60 * KB)
            (bundle.folder / "half").write_bytes(b"x")
            with pytest.raises(TemporaryError), shelf.part() as part:
                part.reserve(60 * KB)
            raise StopWork

    with pytest.raises(StopWork):
        fail()
    put_bundle(shelf, DIGEST, 96 * KB)


def test_what_was_written_without_room_is_not_put(shelf: SlideCache) -> None:
    """A writer who took more than he reserved does not break the budget."""
    with shelf.bundle() as bundle:
        (bundle.folder / "slide.mrxs").write_bytes(os.urandom(101 * KB))
        with pytest.raises(TemporaryError), shelf.put_bundle(bundle, "slide.mrxs", DIGEST):
            pytest.fail("it has no room")
    assert not shelf.has(DIGEST)


def test_parts_of_a_bundle_share_its_limit(shelf: SlideCache) -> None:
    """Files that come at the same time may be as large together as one slide may be."""
    with (
        shelf.bundle() as bundle,
        bundle.part("a", 10_000) as first,
        bundle.part("b", 10_000) as second,
    ):
        first.reserve(6000)
        with pytest.raises(OrderError) as caught:
            second.reserve(6000)
    assert caught.value.code == "input_too_large"


def test_what_a_dead_writer_left_is_swept(shelf: SlideCache, tmp_path: Path) -> None:
    """A bundle whose writer was killed is no slide, and its room is there again."""
    with Held(
        tmp_path, "bundle()", "held.reserve(90000); (held.folder / 'a').write_bytes(b'half')"
    ) as other:
        with pytest.raises(TemporaryError):
            put(shelf, b"b" * 60 * KB)
        other.kill()
    assert len(files(tmp_path)) == 2
    put(shelf, b"b" * 60 * KB)
    assert files(tmp_path) == ["slide.bin"]


PUT = """
import itertools, os, pathlib, sys
from worker.slide_cache.cache import SlideCache
shelf = SlideCache(pathlib.Path(sys.argv[1]), 100 * 1024)
for turn in itertools.count():
    with shelf.bundle() as bundle:
        bundle.reserve(24 * 1024)
        for name in "abc":
            (bundle.folder / name).write_bytes(os.urandom(8 * 1024))
        with shelf.put_bundle(bundle, "a", os.urandom(32).hex()):
            print(turn, flush=True)
"""


def test_killed_at_any_moment_no_half_slide_counts(shelf: SlideCache, tmp_path: Path) -> None:
    """A process that puts and evicts without end is killed time and again: what stands on the shelf is whole."""
    for turn in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", PUT, str(tmp_path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            for _ in range(5 + turn):
                process.stdout.readline()
            process.kill()
        standing = [path.parent for path in tmp_path.glob("??/*/slide")]
        assert standing
        for place in standing:
            assert {
                file.name: file.stat().st_size for file in (place / "files").iterdir()
            } == dict.fromkeys("abc", 8 * KB)
    put_bundle(shelf, DIGEST, used_s=time.time())
    assert list((tmp_path / "parts").iterdir()) == []
