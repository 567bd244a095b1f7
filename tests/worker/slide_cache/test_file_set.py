import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.errors import OrderError, TemporaryError
from tests.support.cache_holder import CacheHolder
from tests.support.slide_caches import files, put
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache

DIGEST = "d" * 64
OTHER = "e" * 64
THIRD = "f" * 64
KB = 1024


@pytest.fixture
def slide_cache(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 100 * KB)


def put_files(slide_cache: SlideCache, digest: str, size: int = 8 * KB, used_s: float = 0) -> Path:
    """Put a slide of two files into the cache, and return the path of its main file.

    Each file has half of `size` bytes. The slide was last used at `used_s` (Unix s).
    """
    with slide_cache.file_set() as file_set:
        file_set.reserve(size)
        (file_set.folder / "slide").mkdir()
        (file_set.folder / "slide.mrxs").write_bytes(os.urandom(size // 2))
        (file_set.folder / "slide" / "Data.dat").write_bytes(os.urandom(size // 2))
        with slide_cache.put_file_set(file_set, "slide.mrxs", digest) as slide:
            os.utime(slide.path, (used_s, used_s))
            return slide.path


def test_the_files_of_a_slide_stay_beside_each_other_under_their_names(
    slide_cache: SlideCache, tmp_path: Path
) -> None:
    """The local slide is the main file, and finds the other file by its name beside it."""
    put_files(slide_cache, DIGEST)
    with slide_cache.pinned(DIGEST) as slide:
        assert slide
        assert slide.path == tmp_path / "dd" / DIGEST / "files" / "slide.mrxs"
        assert (slide.digest, slide.bytes) == (DIGEST, 8 * KB)
        assert (slide.path.parent / "slide" / "Data.dat").stat().st_size == 4 * KB
    assert list((tmp_path / "parts").iterdir()) == []


def test_the_same_slide_is_kept_once(slide_cache: SlideCache) -> None:
    """The second file set of one digest is removed, and the first is used."""
    first = put_files(slide_cache, DIGEST)
    content = first.read_bytes()
    assert put_files(slide_cache, DIGEST) == first
    assert first.read_bytes() == content


def test_holes_take_no_room(slide_cache: SlideCache) -> None:
    """A file with holes counts as the disk space it takes, not as its length."""
    with slide_cache.file_set() as file_set:
        file_set.reserve(4 * KB)
        with (file_set.folder / "slide.tif").open("wb") as file:
            file.truncate(10**9)
            file.write(b"x" * 4 * KB)
        with slide_cache.put_file_set(file_set, "slide.tif", DIGEST) as slide:
            assert slide.bytes == 4 * KB
            assert slide.path.stat().st_size == 10**9
    put(slide_cache, b"x" * 96 * KB, used_s=10)
    assert slide_cache.contains(DIGEST)


def test_eviction_takes_all_files_of_a_slide(slide_cache: SlideCache, tmp_path: Path) -> None:
    """Slides of one and of several files are evicted whole, in the order of their last use."""
    put_files(slide_cache, DIGEST, 40 * KB, used_s=10)
    single = put(slide_cache, b"b" * 40 * KB, used_s=20)
    put_files(slide_cache, OTHER, 40 * KB, used_s=30)
    assert [slide_cache.contains(digest) for digest in (DIGEST, single, OTHER)] == [
        False,
        True,
        True,
    ]
    assert not (tmp_path / "dd" / DIGEST).exists()
    put_files(slide_cache, DIGEST, 40 * KB, used_s=40)
    assert not slide_cache.contains(single)
    assert sorted(files(tmp_path)) == sorted(2 * ["Data.dat", "room", "slide", "slide.mrxs"])


def test_a_slide_in_use_or_waited_for_is_not_evicted(slide_cache: SlideCache) -> None:
    """A pin on the main file, or work that waits for the slide, protects all its files."""
    put_files(slide_cache, DIGEST, 40 * KB, used_s=10)
    put_files(slide_cache, OTHER, 40 * KB, used_s=20)
    slide_cache.add_hold(OTHER, "order.0")
    with slide_cache.pinned(DIGEST) as slide:
        assert slide
        os.utime(slide.path, (0, 0))
        slide_cache.remove_unused(3600)
        with pytest.raises(TemporaryError) as raised:
            put_files(slide_cache, THIRD, 40 * KB)
    assert raised.value.code == "shelf_full"
    slide_cache.remove_hold(OTHER, "order.0")
    slide_cache.remove_unused(3600)
    assert [slide_cache.contains(digest) for digest in (DIGEST, OTHER)] == [False, False]


def test_a_bundle_on_its_way_holds_its_room(slide_cache: SlideCache) -> None:
    """Reserved space counts as taken until the writer fails; then no file is left."""

    def fail() -> None:
        with slide_cache.file_set() as file_set:
            file_set.reserve(60 * KB)
            (file_set.folder / "half").write_bytes(b"x")
            with pytest.raises(TemporaryError), slide_cache.partial_file() as partial_file:
                partial_file.reserve(60 * KB)
            raise StopWork

    with pytest.raises(StopWork):
        fail()
    put_files(slide_cache, DIGEST, 96 * KB)


def test_what_was_written_without_room_is_not_put(slide_cache: SlideCache) -> None:
    """A writer that wrote more than it reserved cannot exceed the budget."""
    with slide_cache.file_set() as file_set:
        (file_set.folder / "slide.mrxs").write_bytes(os.urandom(101 * KB))
        with (
            pytest.raises(TemporaryError),
            slide_cache.put_file_set(file_set, "slide.mrxs", DIGEST),
        ):
            pytest.fail("the cache took more than its budget")
    assert not slide_cache.contains(DIGEST)


def test_parts_of_a_bundle_share_its_limit(slide_cache: SlideCache) -> None:
    """Files that are written at the same time have one limit for all of them together."""
    with (
        slide_cache.file_set() as file_set,
        file_set.partial_file("a", 10_000) as first,
        file_set.partial_file("b", 10_000) as second,
    ):
        first.reserve(6000)
        with pytest.raises(OrderError) as raised:
            second.reserve(6000)
    assert raised.value.code == "input_too_large"


def test_what_a_dead_writer_left_is_swept(slide_cache: SlideCache, tmp_path: Path) -> None:
    """A file set whose writer was killed is no slide, and its space is free again."""
    with CacheHolder(
        tmp_path, "file_set()", "held.reserve(90000); (held.folder / 'a').write_bytes(b'half')"
    ) as other:
        with pytest.raises(TemporaryError):
            put(slide_cache, b"b" * 60 * KB)
        other.kill()
    assert len(files(tmp_path)) == 2
    put(slide_cache, b"b" * 60 * KB)
    assert files(tmp_path) == ["slide.bin"]


PUT_FOREVER = """
import itertools, os, pathlib, sys
from worker.slide_cache.cache import SlideCache
slide_cache = SlideCache(pathlib.Path(sys.argv[1]), 100 * 1024)
for turn in itertools.count():
    with slide_cache.file_set() as file_set:
        file_set.reserve(24 * 1024)
        for name in "abc":
            (file_set.folder / name).write_bytes(os.urandom(8 * 1024))
        with slide_cache.put_file_set(file_set, "a", os.urandom(32).hex()):
            print(turn, flush=True)
"""


def test_killed_at_any_moment_no_half_slide_counts(slide_cache: SlideCache, tmp_path: Path) -> None:
    """A process that puts and evicts slides is killed several times: each slide stays complete."""
    for turn in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", PUT_FOREVER, str(tmp_path)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            for _ in range(5 + turn):
                process.stdout.readline()
            process.kill()
        folders = [path.parent for path in tmp_path.glob("??/*/slide")]
        assert folders
        for folder in folders:
            assert {
                file.name: file.stat().st_size for file in (folder / "files").iterdir()
            } == dict.fromkeys("abc", 8 * KB)
    put_files(slide_cache, DIGEST, used_s=time.time())
    assert list((tmp_path / "parts").iterdir()) == []
