import os
import time
from pathlib import Path

import pytest

from broker.errors import TemporaryError
from tests.support.slide_caches import files, put
from tests.support.slide_server import Listener
from worker.progress import StopWork
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.partial_file import PartialFile, SourceRecord


@pytest.fixture
def shelf(tmp_path: Path) -> SlideCache:
    return SlideCache(tmp_path, 1000)


def test_a_slide_is_kept_once_under_its_digest(shelf: SlideCache, tmp_path: Path) -> None:
    """The same content put twice is one file, named by what it holds."""
    digest = put(shelf, b"slide")
    assert put(shelf, b"slide") == digest
    with shelf.pinned(digest) as copy:
        assert copy
        assert copy.path == tmp_path / digest[:2] / digest / "slide.bin"
        assert (copy.path.read_bytes(), copy.bytes) == (b"slide", 5)
        assert copy.as_dict() == {"path": str(copy.path), "digest": digest, "bytes": 5}
    assert files(tmp_path) == ["slide.bin"]


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", "", "stat:" + "0" * 64])
def test_what_is_not_on_the_shelf_is_none(shelf: SlideCache, digest: str) -> None:
    """An unknown or odd digest gives nothing, and touches nothing outside the shelf."""
    with shelf.pinned(digest) as copy:
        assert copy is None
    assert not shelf.has(digest)


def test_the_least_recently_used_slide_goes_first(shelf: SlideCache) -> None:
    """When room is needed, slides leave in the order of their last use and no more of them than needed."""
    old, older, young = (
        put(shelf, b"a" * 300, 20),
        put(shelf, b"b" * 300, 10),
        put(shelf, b"c" * 300, 30),
    )
    put(shelf, b"d" * 350, 40)
    assert [shelf.has(digest) for digest in (older, old, young)] == [False, True, True]


def test_using_a_slide_makes_it_young(shelf: SlideCache) -> None:
    """A pin counts as a use, so the other slide is the one that goes."""
    first, second = put(shelf, b"a" * 400, 10), put(shelf, b"b" * 400, 20)
    with shelf.pinned(first):
        pass
    put(shelf, b"c" * 400)
    assert [shelf.has(digest) for digest in (first, second)] == [True, False]


def test_a_pinned_slide_is_never_evicted(shelf: SlideCache) -> None:
    """A slide in use stays although it is the oldest; where only pinned ones are left the shelf is full."""
    pinned, other = put(shelf, b"a" * 400, 10), put(shelf, b"b" * 400, 20)
    with shelf.pinned(pinned):
        third = put(shelf, b"c" * 400, 30)
        assert [shelf.has(digest) for digest in (pinned, other)] == [True, False]
        with shelf.pinned(third), pytest.raises(TemporaryError) as caught:
            put(shelf, b"d" * 400)
    assert caught.value.code == "shelf_full"
    put(shelf, b"d" * 400)
    assert not shelf.has(pinned)


def test_a_slide_that_work_waits_for_is_not_evicted(shelf: SlideCache) -> None:
    """Its URL may be dead by then; a full shelf postpones the next fetch instead. Released, it goes like any other."""
    digest = put(shelf, b"a" * 900)
    shelf.want(digest, "order.0")
    with pytest.raises(TemporaryError) as caught:
        put(shelf, b"b" * 900)
    assert caught.value.code == "shelf_full"
    shelf.release(digest, "order.0")
    put(shelf, b"b" * 900)
    assert not shelf.has(digest)


def test_a_slide_unused_for_long_is_discarded(shelf: SlideCache) -> None:
    """Unless it is pinned, or work waits for it."""
    old, wanted, pinned = put(shelf, b"a"), put(shelf, b"b"), put(shelf, b"c")
    young = put(shelf, b"d", used_s=time.time())
    shelf.want(wanted, "order.0")
    with shelf.pinned(pinned) as copy:
        assert copy
        os.utime(copy.path, (0, 0))
        shelf.discard(3600)
    assert [shelf.has(digest) for digest in (old, wanted, pinned, young)] == [
        False,
        True,
        True,
        True,
    ]


def test_nothing_is_evicted_in_vain(shelf: SlideCache) -> None:
    """A slide larger than the budget is refused, and those that stand on the shelf stay."""
    digest = put(shelf, b"a" * 400)
    with pytest.raises(TemporaryError, match="no room on the shelf for 1001 bytes"):
        put(shelf, b"d" * 1001)
    assert shelf.has(digest)


def test_a_slide_on_its_way_holds_its_room(shelf: SlideCache) -> None:
    """Two slides that do not fit together are not both let in, though neither has come yet."""
    with shelf.part() as first, shelf.part() as second:
        first.reserve(600)
        with pytest.raises(TemporaryError):
            second.reserve(600)
    with shelf.part() as third:
        third.reserve(1000)


def test_a_part_that_failed_leaves_nothing(shelf: SlideCache, tmp_path: Path) -> None:
    """An exception in the middle removes what had come."""

    def fail() -> None:
        with shelf.part() as part:
            part.write(b"half")
            raise StopWork

    with pytest.raises(StopWork):
        fail()
    assert files(tmp_path) == []


def test_a_part_may_start_again(shelf: SlideCache) -> None:
    """After a restart only the later bytes count, also when they are fewer."""
    with shelf.part() as part:
        part.reserve(10)
        part.write(b"0123456789")
        part.restart()
        part.write(b"abc")
        assert part.head() == b"abc"
        with shelf.put(part, ".bin") as copy:
            assert copy.path.read_bytes() == b"abc"


def test_a_full_disk_is_worth_another_try() -> None:
    """A write that the disk refuses for lack of room is `shelf_full`."""
    with Path("/dev/full").open("r+b", buffering=0) as file:
        part = PartialFile(file, Path("/dev/full"), lambda _file, _size: None)
        with pytest.raises(TemporaryError) as caught:
            part.write(b"x")
    assert caught.value.code == "shelf_full"


def test_a_source_is_remembered(shelf: SlideCache, tmp_path: Path) -> None:
    """What was kept comes back whole; what a dying writer left half-written counts as nothing."""
    kept = SourceRecord("d" * 64, '"v1"', "a" * 64, 12.5)
    with shelf.source("key", Listener()) as source:
        assert source.kept is None
        source.keep(SourceRecord("e" * 64, '"a longer one"', "a" * 64, 12.25))
        source.keep(kept)
    with shelf.source("key", Listener()) as source:
        assert source.kept == kept
    (tmp_path / "sources" / "key").write_bytes(b'{"digest": "dd')
    with shelf.source("key", Listener()) as source:
        assert source.kept is None


def test_a_source_nobody_asked_for_a_month_is_forgotten(shelf: SlideCache, tmp_path: Path) -> None:
    """Old sources are swept when room is made, except one that is being asked right now."""
    month_ago = time.time() - 31 * 86400
    for key in ("old", "again", "held"):
        with shelf.source(key, Listener()):
            os.utime(tmp_path / "sources" / key, (month_ago, month_ago))
    with shelf.source("again", Listener()):
        pass
    with shelf.source("held", Listener()):
        os.utime(tmp_path / "sources" / "held", (month_ago, month_ago))
        put(shelf, b"x")
    assert sorted(path.name for path in (tmp_path / "sources").iterdir()) == ["again", "held"]
