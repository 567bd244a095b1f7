"""The slides that a watched folder holds."""

import os
from pathlib import Path

import pytest

from worker.watch.listing import list_slides


def put(folder: Path, *names: str, size_bytes: int = 3) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size_bytes)


def test_slides_are_found_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    """Names of slides count, in folders below too; temporary names, dot files and pictures do not."""
    put(tmp_path, "a.svs", "case/B.TIFF", "case/deep/c.ndpi")
    put(
        tmp_path,
        ".a.svs.Xy12",
        ".hidden.svs",
        "~a.svs",
        "b.svs.part",
        "c.tmp",
        "label.png",
        "x.txt",
    )
    put(tmp_path, ".trash/old.svs")
    (tmp_path / "folder.svs").mkdir()
    assert set(list_slides(tmp_path).slides) == {"a.svs", "case/B.TIFF", "case/deep/c.ndpi"}


def test_a_slide_of_several_files_is_one(tmp_path: Path) -> None:
    """MIRAX waits for the index in its folder; DICOM files of a folder are one slide, by the largest."""
    put(tmp_path, "m.mrxs", "m/Data0000.dat", "v/s.vms", "v/s-1.jpg", "v/s-map.tif")
    put(tmp_path, "series/0.dcm", "series/1.dcm")
    put(tmp_path, "series/level0.dcm", size_bytes=9)
    assert set(list_slides(tmp_path).slides) == {"v/s.vms", "series"}
    put(tmp_path, "m/Slidedat.ini")
    found = list_slides(tmp_path).slides
    assert set(found) == {"m.mrxs", "v/s.vms", "series"}
    assert found["series"].main == str(tmp_path / "series" / "level0.dcm")


@pytest.mark.parametrize(
    ("slide", "part"), [("a.svs", "a.svs"), ("m.mrxs", "m/Data0000.dat"), ("d", "d/1.dcm")]
)
def test_a_change_of_any_file_makes_it_another_slide(tmp_path: Path, slide: str, part: str) -> None:
    """Size and time of every file count."""
    put(tmp_path, "a.svs", "m.mrxs", "m/Data0000.dat", "m/Slidedat.ini", "d/0.dcm", "d/1.dcm")
    before = list_slides(tmp_path).slides[slide].identity
    assert list_slides(tmp_path).slides[slide].identity == before
    os.utime(tmp_path / part, ns=(0, 10**9))
    changed = list_slides(tmp_path).slides[slide].identity
    put(tmp_path, part, size_bytes=4)
    os.utime(tmp_path / part, ns=(0, 10**9))
    assert len({before, changed, list_slides(tmp_path).slides[slide].identity}) == 3


def test_what_file_managers_add_changes_no_slide(tmp_path: Path) -> None:
    """A look at the folder with the Finder or the Explorer does not have it ordered again."""
    put(tmp_path, "m.mrxs", "m/Data0000.dat", "m/Slidedat.ini", "v/s.vms", "v/s-1.jpg")
    before = list_slides(tmp_path).slides
    put(tmp_path, "m/.DS_Store", "m/._Slidedat.ini", "m/Thumbs.db", "v/desktop.ini", "v/._s.vms")
    assert list_slides(tmp_path).slides == before


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    """A link that leads to itself or out of the folder cannot make the look endless."""
    put(tmp_path, "in/a.svs", "out/b.svs")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "gone.svs").symlink_to(tmp_path / "nowhere")
    assert set(list_slides(tmp_path / "in").slides) == {"a.svs"}


def test_too_much_is_said_and_not_read(tmp_path: Path) -> None:
    """A folder that cannot be listed as a whole says so; one that is not there raises."""
    put(tmp_path, *(f"{number}.svs" for number in range(6)))
    listing = list_slides(tmp_path, most_entries=5)
    assert 5 <= len(listing.slides) <= 6
    assert "more than 5 entries" in listing.fault
    assert list_slides(tmp_path, most_entries=6).fault == ""
    deep = tmp_path.joinpath(*("d" for _ in range(20)))
    put(deep, "a.svs")
    assert "too deep" in list_slides(tmp_path).fault
    with pytest.raises(FileNotFoundError):
        list_slides(tmp_path / "none")


def test_a_name_that_is_no_text_stops_nothing(tmp_path: Path) -> None:
    """No order can name such a file."""
    put(tmp_path, "a.svs")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.svs")).write_bytes(b"x")
    assert set(list_slides(tmp_path).slides) == {"a.svs"}
