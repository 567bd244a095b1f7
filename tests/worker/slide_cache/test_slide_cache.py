import json
import os
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from broker.errors import TemporaryError
from tests.support.slide_caches import files, put
from tests.support.slide_server import Listener
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.partial_file import PartialFile, SourceRecord


@pytest.fixture
def slide_cache(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 1000)


def test_a_slide_is_kept_once_under_its_digest(slide_cache: SlideCache, tmp_path: Path) -> None:
    """The same content put twice is one file, in a folder named by its digest."""
    digest = put(slide_cache, b"slide")
    assert put(slide_cache, b"slide") == digest
    with slide_cache.pinned(digest) as slide:
        assert slide
        assert slide.path == tmp_path / digest[:2] / digest / "slide.bin"
        assert (slide.path.read_bytes(), slide.bytes) == (b"slide", 5)
        assert slide.as_dict() == {"path": str(slide.path), "digest": digest, "bytes": 5}
    assert files(tmp_path) == ["slide.bin"]


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", "", "stat:" + "0" * 64])
def test_what_is_not_in_the_slide_cache_is_none(slide_cache: SlideCache, digest: str) -> None:
    """An unknown or malformed digest gives None, and reaches no file outside the cache."""
    with slide_cache.pinned(digest) as slide:
        assert slide is None
    assert not slide_cache.contains(digest)


def test_the_least_recently_used_slide_goes_first(slide_cache: SlideCache) -> None:
    """Slides are evicted in the order of their last use, and no more of them than needed."""
    old = put(slide_cache, b"a" * 300, 20)
    older = put(slide_cache, b"b" * 300, 10)
    young = put(slide_cache, b"c" * 300, 30)
    put(slide_cache, b"d" * 350, 40)
    assert [slide_cache.contains(digest) for digest in (older, old, young)] == [False, True, True]


def test_using_a_slide_makes_it_young(slide_cache: SlideCache) -> None:
    """A pin counts as a use, so the other slide is evicted."""
    first = put(slide_cache, b"a" * 400, 10)
    second = put(slide_cache, b"b" * 400, 20)
    with slide_cache.pinned(first):
        pass
    put(slide_cache, b"c" * 400)
    assert [slide_cache.contains(digest) for digest in (first, second)] == [True, False]


def test_a_pinned_slide_is_never_evicted(slide_cache: SlideCache) -> None:
    """A slide in use stays even if it is the oldest; with pinned slides only, the cache is full."""
    pinned = put(slide_cache, b"a" * 400, 10)
    other = put(slide_cache, b"b" * 400, 20)
    with slide_cache.pinned(pinned):
        third = put(slide_cache, b"c" * 400, 30)
        assert [slide_cache.contains(digest) for digest in (pinned, other)] == [True, False]
        with slide_cache.pinned(third), pytest.raises(TemporaryError) as raised:
            put(slide_cache, b"d" * 400)
    assert raised.value.code == "shelf_full"
    put(slide_cache, b"d" * 400)
    assert not slide_cache.contains(pinned)


def test_a_slide_that_work_waits_for_is_not_evicted(slide_cache: SlideCache) -> None:
    """Its URL may have expired, so the next fetch is postponed; once released, it is evicted."""
    digest = put(slide_cache, b"a" * 900)
    slide_cache.add_hold(digest, "order.0")
    with pytest.raises(TemporaryError) as raised:
        put(slide_cache, b"b" * 900)
    assert raised.value.code == "shelf_full"
    slide_cache.remove_hold(digest, "order.0")
    put(slide_cache, b"b" * 900)
    assert not slide_cache.contains(digest)


def test_a_slide_unused_for_long_is_discarded(slide_cache: SlideCache) -> None:
    """A slide stays if it is pinned or work waits for it, however long it was unused."""
    old = put(slide_cache, b"a")
    held = put(slide_cache, b"b")
    pinned = put(slide_cache, b"c")
    young = put(slide_cache, b"d", used_s=time.time())
    slide_cache.add_hold(held, "order.0")
    with slide_cache.pinned(pinned) as slide:
        assert slide
        os.utime(slide.path, (0, 0))
        slide_cache.remove_unused(3600)
    assert [slide_cache.contains(digest) for digest in (old, held, pinned, young)] == [
        False,
        True,
        True,
        True,
    ]


def test_nothing_is_evicted_in_vain(slide_cache: SlideCache) -> None:
    """A slide larger than the budget is refused, and the slides in the cache stay."""
    digest = put(slide_cache, b"a" * 400)
    with pytest.raises(TemporaryError, match="no room in the slide cache for 1001 bytes"):
        put(slide_cache, b"d" * 1001)
    assert slide_cache.contains(digest)


def test_a_slide_on_its_way_holds_its_room(slide_cache: SlideCache) -> None:
    """Space is reserved before a slide is written, so two that do not both fit are not begun."""
    with slide_cache.partial_file() as first, slide_cache.partial_file() as second:
        first.reserve(600)
        with pytest.raises(TemporaryError):
            second.reserve(600)
    with slide_cache.partial_file() as third:
        third.reserve(1000)


def test_a_part_that_failed_leaves_nothing(slide_cache: SlideCache, tmp_path: Path) -> None:
    """An exception while a slide is written removes the file."""

    def fail() -> None:
        with slide_cache.partial_file() as partial_file:
            partial_file.write(b"half")
            raise StopWork

    with pytest.raises(StopWork):
        fail()
    assert files(tmp_path) == []


def test_a_part_may_start_again(slide_cache: SlideCache) -> None:
    """After a restart only the later bytes count, even when they are fewer."""
    with slide_cache.partial_file() as partial_file:
        partial_file.reserve(10)
        partial_file.write(b"0123456789")
        partial_file.restart()
        partial_file.write(b"abc")
        assert partial_file.first_bytes() == b"abc"
        with slide_cache.put(partial_file, ".bin") as slide:
            assert slide.path.read_bytes() == b"abc"


class NoBudget:
    """Grants no space: the test writes without reserving any."""

    def grow(self, file: BinaryIO, size_bytes: int) -> None:
        raise AssertionError(f"{size_bytes} bytes were reserved for {file}")


def test_a_full_disk_is_worth_another_try() -> None:
    """A write that fails because the disk is full is a temporary error, `shelf_full`."""
    with Path("/dev/full").open("r+b", buffering=0) as file:
        partial_file = PartialFile(file, Path("/dev/full"), NoBudget())
        with pytest.raises(TemporaryError) as raised:
            partial_file.write(b"x")
    assert raised.value.code == "shelf_full"


def test_a_source_is_remembered(slide_cache: SlideCache, tmp_path: Path) -> None:
    """The last record is read back; one that a dying writer left incomplete counts as none."""
    record = SourceRecord("d" * 64, '"v1"', "a" * 64, 12.5)
    with slide_cache.source("key", Listener()) as source:
        assert source.record is None
        source.save(SourceRecord("e" * 64, '"a longer one"', "a" * 64, 12.25))
        source.save(record)
    with slide_cache.source("key", Listener()) as source:
        assert source.record == record
    stored = json.loads((tmp_path / "sources" / "key").read_bytes())
    assert stored == {"digest": "d" * 64, "etag": '"v1"', "asked": "a" * 64, "at": 12.5}
    (tmp_path / "sources" / "key").write_bytes(b'{"digest": "dd')
    with slide_cache.source("key", Listener()) as source:
        assert source.record is None


def test_a_source_nobody_asked_for_a_month_is_forgotten(
    slide_cache: SlideCache, tmp_path: Path
) -> None:
    """Old records are removed when space is reserved, except one that is in use right now."""
    month_ago = time.time() - 31 * 86400
    for key in ("old", "again", "held"):
        with slide_cache.source(key, Listener()):
            os.utime(tmp_path / "sources" / key, (month_ago, month_ago))
    with slide_cache.source("again", Listener()):
        pass
    with slide_cache.source("held", Listener()):
        os.utime(tmp_path / "sources" / "held", (month_ago, month_ago))
        put(slide_cache, b"x")
    assert sorted(path.name for path in (tmp_path / "sources").iterdir()) == ["again", "held"]
