"""Slides that lie in the cache as hard links to files elsewhere."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.slide_caches import put
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.errors import SlideCacheFullError
from worker.slide_cache.local_slide import LocalSlide


def a_file(folder: Path, content: bytes) -> tuple[Path, str]:
    path = folder / hashlib.sha256(content).hexdigest()[:8]
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


@contextmanager
def put_link(cache: SlideCache, path: Path, digest: str) -> Iterator[LocalSlide]:
    with cache.file_set() as file_set:
        link = file_set.link(path, "link")
        assert link is not None
        with cache.put_link(link, ".tif", digest) as slide:
            yield slide


def test_a_link_stays_when_the_file_goes(tmp_path: Path) -> None:
    """The same bytes on the disk, pinned; a second link of the content makes nothing new."""
    cache = SlideCache(tmp_path / "shelf", 1000)
    path, digest = a_file(tmp_path, b"x" * 400)
    for _ in range(2):
        with put_link(cache, path, digest) as slide:
            assert (slide.path.name, slide.digest, slide.bytes) == ("slide.tif", digest, 400)
            assert slide.path.samefile(path)
    path.unlink()
    with cache.pinned(digest) as kept:
        assert kept is not None
        assert kept.path.read_bytes() == b"x" * 400
        cache.remove_unused(-1)
        assert cache.contains(digest)
    cache.remove_unused(-1)
    assert not cache.contains(digest)


def test_links_count_in_the_budget(tmp_path: Path) -> None:
    """An older slide goes; where none may go, the link is refused and nothing is left of it."""
    cache = SlideCache(tmp_path / "shelf", 1000)
    older = put(cache, b"o" * 700)
    path, digest = a_file(tmp_path, b"x" * 400)
    with put_link(cache, path, digest):
        assert not cache.contains(older)
        other, other_digest = a_file(tmp_path, b"y" * 700)
        with pytest.raises(SlideCacheFullError), put_link(cache, other, other_digest):
            pytest.fail("there was no room")
    assert other.stat().st_nlink == 1
    assert not cache.contains(other_digest)


def test_a_link_is_of_the_file_that_lay_there(tmp_path: Path) -> None:
    """What lies under the name afterwards does not get into the cache."""
    cache = SlideCache(tmp_path / "shelf", 1000)
    path, digest = a_file(tmp_path, b"x" * 400)
    with cache.file_set() as file_set:
        link = file_set.link(path, "link")
        assert link is not None
        path.unlink()
        path.write_bytes(b"y" * 400)
        with cache.put_link(link, ".tif", digest) as slide:
            assert slide.path.read_bytes() == b"x" * 400
        with pytest.raises(FileNotFoundError):
            file_set.link(tmp_path / "nothing", "other")
