"""What a caller sent in becomes a slide in the cache."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.errors import SlidelaneError
from broker.orders.request import ScanRequest
from broker.settings.config import SlidesSettings, WorkerSettings
from broker.uploads import UploadLimits, Uploads
from tests.support import vendor_slides
from tests.support.mirax import a_mirax
from tests.support.multi_file_slides import a_series, zipped
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from worker.http_session import session
from worker.slide_cache.cache import SlideCache
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox
from worker.slides.slide import Slide
from worker.sources.fetch import SlideFetcher

PIXELS = a_picture(96, 64)
LIMITS = UploadLimits(max_bytes=10**8, per_caller=10)


class Site:
    """A folder of uploads and a slide cache, on one disk or, by a link, as if on two."""

    def __init__(self, folder: Path) -> None:
        self.uploads = Uploads(folder / "uploads")
        self.cache = SlideCache(folder / "shelf", 10**8)

    def send(self, files: Mapping[str, bytes]) -> str:
        """Upload the files of one slide, and return the id of the set."""
        set_id = None
        for name, content in files.items():
            status = self.uploads.create("clerk", len(content), name, "", LIMITS, set_id)
            set_id = status.set_id
            writer = self.uploads.open_writer(status.id, "clerk", 0)
            writer.write(content)
            writer.close()
        assert set_id is not None
        return set_id

    @contextmanager
    def fetched(self, upload_id: str, known: dict[str, Any] | None = None) -> Iterator[LocalSlide]:
        """The slide of an order that names the upload, pinned."""
        http = session((), connect_timeout_s=2, read_timeout_s=2)
        settings = WorkerSettings(slides=SlidesSettings(max_slide_bytes=10**7, max_bytes=10**8))
        scan = {"id": "1", "source": {"type": "upload", "upload": upload_id}}
        fetcher = SlideFetcher(self.cache, http, Sandbox(threads=1), settings, self.uploads)
        request = ScanRequest.model_validate(scan)
        with http, fetcher.fetch(request, None, Listener(), known) as slide:
            yield slide

    def refusal(self, upload_id: str) -> SlidelaneError:
        """The error that a fetch ends in."""
        with pytest.raises(SlidelaneError) as caught, self.fetched(upload_id):
            pytest.fail("nothing was wrong with it")
        return caught.value


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_file_is_linked_and_outlives_its_upload(site: Site, tmp_path: Path) -> None:
    """No second copy on the disk, the suffix of the content, and the pin that holds what is read."""
    content = a_slide(tmp_path / "a.svs", PIXELS).read_bytes()
    set_id = site.send({"../../etc/S26 1234.exe": content})
    with site.fetched(set_id) as slide:
        assert slide.path.name == "slide.tif"
        assert slide.path.samefile(site.uploads.slide_path(set_id))
        site.uploads.delete(set_id, "clerk")
        with Slide.open(slide.path) as opened:
            assert np.array_equal(opened.read(0, 0, 96, 64, 1, 1), PIXELS)
    with site.fetched(set_id, slide.as_dict()) as again:
        assert again.digest == slide.digest
    assert site.refusal(set_id).code == "upload_not_found"


def test_where_no_link_can_be_made_the_file_is_copied(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two mounts: the same slide by the same digest, in a file of its own."""
    content = a_slide(tmp_path / "a.svs", PIXELS).read_bytes()
    set_id = site.send({"a.svs": content})
    monkeypatch.setattr(os, "link", _no_link)
    with site.fetched(set_id) as slide:
        assert not slide.path.samefile(site.uploads.slide_path(set_id))
        assert slide.path.read_bytes() == content


def _no_link(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_a_mirax_slide_is_sent_as_file_and_folder(site: Site, tmp_path: Path) -> None:
    """Whatever letters its name has, and with what file managers add."""
    a_mirax(tmp_path / "made" / "case", PIXELS)
    files = contents(tmp_path / "made") | {".DS_Store": b"x"}
    named = {name.replace("slide", "Größe 1"): content for name, content in files.items()}
    with site.fetched(site.send(named)) as slide, Slide.open(slide.path) as opened:
        assert slide.path.name == "Größe 1.mrxs"
        assert np.array_equal(opened.read(64, 32, 96, 64, 1, 1), PIXELS)


def test_a_series_is_sent_file_by_file(site: Site, tmp_path: Path) -> None:
    """In any order and any folder it is the same slide as in a zip."""
    series = a_series(tmp_path / "series", PIXELS)
    apart = site.send({f"case/{name}": content for name, content in reversed(series.items())})
    packed = site.send({"case.zip": zipped(series)})
    with site.fetched(apart) as one, site.fetched(packed) as other:
        assert one.digest == other.digest
        with Slide.open(one.path) as opened:
            assert np.array_equal(opened.read(0, 0, 96, 64, 1, 1), PIXELS)


def test_files_beside_each_other_stay_so(site: Site, tmp_path: Path) -> None:
    """A Hamamatsu index names its JPEGs."""
    (tmp_path / "made").mkdir()
    vendor_slides.vms(tmp_path / "made" / "slide", PIXELS)
    set_id = site.send(contents(tmp_path / "made"))
    with site.fetched(set_id) as slide, Slide.open(slide.path) as opened:
        assert (opened.frame.width, opened.frame.height) == (96, 64)


def test_what_is_no_slide_is_told_so(site: Site, tmp_path: Path) -> None:
    """Nothing, a page, two slides, a preview alone, more than the limit, a zip that leads out."""
    a_mirax(tmp_path / "made" / "case", PIXELS)
    made = contents(tmp_path / "made")
    main = {name: content for name, content in made.items() if name.endswith(".mrxs")}
    slide = a_slide(tmp_path / "a.svs", PIXELS).read_bytes()
    cases = {
        "not_a_slide": [
            {"a.svs": b""},
            {"a.svs": b"<html><body>login</body></html>"},
            {"a.svs": slide, "b.svs": slide + b"x"},
            {"a.txt": b"x", "b.txt": b"y"},
            main,
            {"a.zip": zipped({"../a.svs": slide})},
        ],
        "input_too_large": [{"a.svs": slide + bytes(10**7)}],
    }
    for code, sent in cases.items():
        assert {site.refusal(site.send(files)).code for files in sent} == {code}


def test_an_upload_that_is_not_whole_is_refused(site: Site) -> None:
    """With what to do; so is one that is unknown."""
    status = site.uploads.create("clerk", 10, "a.svs", "", LIMITS)
    assert site.refusal(status.id).code == "upload_incomplete"
    refusal = site.refusal("0" * 32)
    assert (refusal.code, refusal.field) == ("upload_not_found", "source.upload")
    assert "new order" in refusal.hint
