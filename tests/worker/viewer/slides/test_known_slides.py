"""Slides that are found again without their folder being listed."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from broker.errors import OrderError
from worker.slide_cache.reading import ReadSlideCache
from worker.viewer.slides.allowed_slides import AllowedSlides


def test_a_slide_is_found_again_while_its_file_is_the_same(tmp_path: Path) -> None:
    """Its next tiles cost one look at its main file; another file there is seen at once."""
    folder = tmp_path / "slides"
    folder.mkdir()
    path = folder / "a.svs"
    path.write_bytes(b"first")
    allowed = AllowedSlides((folder,), ReadSlideCache(tmp_path / "shelf"))
    header = quote(str(path))
    first = allowed.find(header)
    assert allowed.find(header, first.digest) is first
    path.write_bytes(b"second")
    os.utime(path, ns=(1, 1))
    assert allowed.find(header).digest != first.digest
    with pytest.raises(OrderError) as caught:
        allowed.find(header, first.digest)
    assert caught.value.code == "slide_gone"
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(OrderError) as caught:
        allowed.find(header)
    assert caught.value.code == "path_not_allowed"
