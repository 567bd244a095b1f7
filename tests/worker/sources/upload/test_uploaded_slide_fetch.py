"""What a caller sent in becomes a slide in the cache."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support import vendor_slides
from tests.support.mirax import a_mirax
from tests.support.multi_file_slides import a_series, zipped
from tests.support.slides import a_picture, a_slide
from tests.support.upload_site import LIMITS, UploadSite
from worker.slides.slide import Slide

PIXELS = a_picture(96, 64)
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
DICOMDIR = b"\0" * 128 + b"DICM"


@pytest.fixture
def site(tmp_path: Path) -> UploadSite:
    return UploadSite(tmp_path)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_file_is_linked_and_outlives_its_upload(site: UploadSite, tmp_path: Path) -> None:
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
    site: UploadSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_mirax_slide_is_sent_as_file_and_folder(site: UploadSite, tmp_path: Path) -> None:
    """Whatever letters its name has, and with what file managers add."""
    a_mirax(tmp_path / "made" / "case", PIXELS)
    files = contents(tmp_path / "made") | {".DS_Store": b"x"}
    named = {name.replace("slide", "Größe 1"): content for name, content in files.items()}
    with site.fetched(site.send(named)) as slide, Slide.open(slide.path) as opened:
        assert slide.path.name == "Größe 1.mrxs"
        assert np.array_equal(opened.read(64, 32, 96, 64, 1, 1), PIXELS)


def test_a_series_is_sent_file_by_file(site: UploadSite, tmp_path: Path) -> None:
    """In any order and any folder it is the same slide as in a zip."""
    series = a_series(tmp_path / "series", PIXELS)
    apart = site.send({f"case/{name}": content for name, content in reversed(series.items())})
    packed = site.send({"case.zip": zipped(series)})
    with site.fetched(apart) as one, site.fetched(packed) as other:
        assert one.digest == other.digest
        with Slide.open(one.path) as opened:
            assert np.array_equal(opened.read(0, 0, 96, 64, 1, 1), PIXELS)


def with_litter(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files as macOS and Windows pass folders on: with files of their own, first."""
    litter = {}
    for name in files:
        folder, slash, last = name.rpartition("/")
        litter[f"{folder}{slash}._{last}"] = APPLE_DOUBLE
        litter[f"{folder}{slash}.DS_Store"] = b"Bud1"
        litter[f"{folder}{slash}Thumbs.db"] = b"\xd0\xcf\x11\xe0"
        litter[f"{folder}{slash}desktop.ini"] = b"[.ShellClassInfo]"
    return litter | {"__MACOSX/._case": APPLE_DOUBLE, "DICOMDIR": DICOMDIR} | files


@pytest.mark.parametrize("kind", ["mirax", "vms", "series", "one"])
def test_what_file_managers_add_is_no_part_of_the_slide(
    site: UploadSite, tmp_path: Path, kind: str
) -> None:
    """The same slide by the same digest; also where it is opened in the folder of uploads."""
    made = tmp_path / "made"
    made.mkdir()
    if kind == "mirax":
        a_mirax(made / "case", PIXELS)
    elif kind == "vms":
        vendor_slides.vms(made / "slide", PIXELS)
    elif kind == "series":
        a_series(made / "series", PIXELS)
    else:
        a_slide(made / "a.svs", PIXELS)
    files = contents(made)
    littered = site.send(with_litter(files))
    with site.fetched(littered) as slide, site.fetched(site.send(files)) as clean:
        assert slide.digest == clean.digest
    sent = {name.replace("series/", "") for name in files}
    assert {path.name for _, path in site.uploads.files(littered)} == {
        name.rpartition("/")[2] for name in sent
    }
    assert site.uploads.slide_path(littered).read_bytes()[:8] != APPLE_DOUBLE[:8]


def test_a_file_that_is_all_there_is_may_have_any_name(site: UploadSite, tmp_path: Path) -> None:
    """What it is, its content decides."""
    content = a_slide(tmp_path / "a.svs", PIXELS).read_bytes()
    with site.fetched(site.send({"._a.svs": content})) as slide:
        assert slide.path.read_bytes() == content


def test_files_beside_each_other_stay_so(site: UploadSite, tmp_path: Path) -> None:
    """A Hamamatsu index names its JPEGs."""
    (tmp_path / "made").mkdir()
    vendor_slides.vms(tmp_path / "made" / "slide", PIXELS)
    set_id = site.send(contents(tmp_path / "made"))
    with site.fetched(set_id) as slide, Slide.open(slide.path) as opened:
        assert (opened.frame.width, opened.frame.height) == (96, 64)


def test_what_is_no_slide_is_told_so(site: UploadSite, tmp_path: Path) -> None:
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


def test_an_upload_that_is_not_whole_is_refused(site: UploadSite) -> None:
    """With what to do; so is one that is unknown."""
    status = site.uploads.create("clerk", 10, "a.svs", "", LIMITS)
    assert site.refusal(status.id).code == "upload_incomplete"
    refusal = site.refusal("0" * 32)
    assert (refusal.code, refusal.field) == ("upload_not_found", "source.upload")
    assert "new order" in refusal.hint
