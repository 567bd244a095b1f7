"""The owner of an upload replaces its files while a slide is taken from it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import OrderError
from tests.support.multi_file_slides import a_series, zipped
from tests.support.slides import a_picture, a_slide
from tests.support.upload_site import LIMITS, UploadSite

PIXELS = a_picture(96, 64)


@pytest.fixture
def site(tmp_path: Path) -> UploadSite:
    return UploadSite(tmp_path)


class Meanwhile:
    """A progress that calls `act` when it first hears of bytes."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._is_done = False

    def report(self, stage: str, done: int, total: int) -> None:
        del done, total
        if stage == "fetching" and not self._is_done:
            self._is_done = True
            self._act()


def replaced(site: UploadSite, set_id: str, name: str, content: bytes) -> None:
    """Create the file again, and send it."""
    status = site.uploads.create("clerk", len(content), name, "", LIMITS, set_id)
    writer = site.uploads.open_writer(status.id, "clerk", 0)
    writer.write(content)
    writer.close()


def assert_cache_is_true(site: UploadSite, folder: Path) -> None:
    """Every slide of one file has the digest that names it."""
    for path in (folder / "shelf").glob("??/*/slide.*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.parent.name
    assert list((folder / "shelf" / "parts").iterdir()) == []


@pytest.mark.parametrize("can_link", [True, False], ids=["link", "copy"])
def test_no_content_gets_the_digest_of_another(
    site: UploadSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_link: bool
) -> None:
    """The try ends, to be made again; that one fetches what is there then."""
    if not can_link:
        monkeypatch.setattr(os, "link", _no_link)
    first = a_slide(tmp_path / "a.svs", PIXELS).read_bytes()
    second = first + b"x"
    set_id = site.send({"a.svs": first})
    meanwhile = Meanwhile(lambda: replaced(site, set_id, "a.svs", second))
    assert site.refusal(set_id, meanwhile).code == "input_unreachable"
    assert_cache_is_true(site, tmp_path)
    with site.fetched(set_id) as slide:
        assert slide.path.read_bytes() == second
        assert slide.digest == hashlib.sha256(second).hexdigest()
    assert_cache_is_true(site, tmp_path)


def _no_link(*_: object, **__: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_no_file_of_a_series_is_exchanged(site: UploadSite, tmp_path: Path) -> None:
    """Nor is one taken that is not whole yet, though it is as long as the one before."""
    series = a_series(tmp_path / "series", PIXELS)
    last = sorted(series)[-1]
    set_id = site.send(series)

    def begin_again() -> None:
        length = len(series[last])
        status = site.uploads.create("clerk", length + 1, last, "", LIMITS, set_id)
        writer = site.uploads.open_writer(status.id, "clerk", 0)
        writer.write(bytes(length))
        writer.close()

    assert site.refusal(set_id, Meanwhile(begin_again)).code == "input_unreachable"
    assert site.refusal(set_id).code == "upload_incomplete"
    replaced(site, set_id, last, series[last])
    with site.fetched(set_id) as slide, site.fetched(site.send(series)) as other:
        assert slide.digest == other.digest


def test_a_removed_upload_is_no_bug(site: UploadSite, tmp_path: Path) -> None:
    """The try ends, and the next one says that there is no such upload."""
    set_id = site.send(a_series(tmp_path / "series", PIXELS))
    meanwhile = Meanwhile(lambda: site.uploads.delete(set_id, "clerk"))
    assert site.refusal(set_id, meanwhile).code == "input_unreachable"
    assert site.refusal(set_id).code == "upload_not_found"


@pytest.mark.parametrize("form", ["a.svs", "a.zip"])
def test_a_file_of_the_same_length_is_another(site: UploadSite, tmp_path: Path, form: str) -> None:
    """What was fetched before is not given for it, whatever inode it got."""
    contents = [
        a_slide(tmp_path / f"{number}.svs", a_picture(96, 64)).read_bytes() + bytes([number])
        for number in range(2)
    ]
    sent = contents
    if form == "a.zip":
        sent = [zipped({"a.svs": content}) for content in contents]
    set_id = site.send({form: sent[0]})
    with site.fetched(set_id) as slide:
        assert slide.path.read_bytes() == contents[0]
    replaced(site, set_id, form, sent[1])
    with site.fetched(set_id) as slide:
        assert slide.path.read_bytes() == contents[1]


def test_a_linked_file_never_changes(site: UploadSite, tmp_path: Path) -> None:
    """A whole file takes no byte more, and what replaces it is a file of its own."""
    set_id = site.send({"a.svs": b"abc"})
    ((file, path),) = site.uploads.files(set_id)
    link = tmp_path / "link"
    os.link(path, link)
    whole = site.uploads.open_writer(set_id, "clerk", 3)
    with pytest.raises(OrderError) as caught:
        whole.write(b"d")
    assert caught.value.code == "upload_too_large"
    whole.close()
    assert site.uploads.has_files(set_id, [file])
    replaced(site, set_id, "a.svs", b"wxyz")
    assert not site.uploads.has_files(set_id, [file])
    assert path.read_bytes() == b"wxyz"
    assert not link.samefile(path)
    assert link.read_bytes() == b"abc"
