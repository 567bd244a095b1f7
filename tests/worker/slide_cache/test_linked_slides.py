"""Slides that lie in the cache as hard links to files elsewhere."""

import hashlib
from pathlib import Path

import pytest

from tests.support.slide_caches import put
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.errors import SlideCacheFullError


def a_file(folder: Path, content: bytes) -> tuple[Path, str]:
    path = folder / hashlib.sha256(content).hexdigest()[:8]
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def test_a_link_stays_when_the_file_goes(tmp_path: Path) -> None:
    """The same bytes on the disk, pinned; a second link of the content makes nothing new."""
    cache = SlideCache(tmp_path / "shelf", 1000)
    path, digest = a_file(tmp_path, b"x" * 400)
    assert cache.can_link(path)
    for _ in range(2):
        with cache.put_link(path, ".tif", digest) as slide:
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
    with cache.put_link(path, ".tif", digest):
        assert not cache.contains(older)
        other, other_digest = a_file(tmp_path, b"y" * 700)
        with pytest.raises(SlideCacheFullError), cache.put_link(other, ".tif", other_digest):
            pytest.fail("there was no room")
    assert other.stat().st_nlink == 1
    assert not cache.contains(other_digest)
