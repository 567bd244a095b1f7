"""The folders that the viewer lists: one page of one folder, and nothing beyond a root."""

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from worker.viewer.folders import PAGE_ENTRIES, SlideFolders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    return folder


def names(page: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in page["entries"]]


def test_roots_are_told_by_number_and_by_the_last_part_of_their_name(tmp_path: Path) -> None:
    """Where on the disk they lie is nobody's business."""
    folders = SlideFolders((tmp_path / "a" / "ward-7", Path("/")))
    assert folders.roots() == {
        "roots": [{"root": 0, "name": "ward-7"}, {"root": 1, "name": "/"}],
    }


def test_a_folder_is_listed_folders_first_and_then_by_name(root: Path) -> None:
    """Slides are told by their suffix, in capitals too; other files are shown as such."""
    (root / "z-case").mkdir()
    for name in ("b.SVS", "a.ndpi", "notes.txt", "image.dcm"):
        (root / name).write_bytes(b"12345")
    os.utime(root / "a.ndpi", (86400.5, 86400.5))
    page = SlideFolders((root,)).page(0, "", None)
    kinds = [(entry["name"], entry["kind"], entry["bytes"]) for entry in page["entries"]]
    assert kinds == [
        ("z-case", "folder", None),
        ("a.ndpi", "slide", 5),
        ("b.SVS", "slide", 5),
        ("image.dcm", "slide", 5),
        ("notes.txt", "other", 5),
    ]
    assert page["entries"][1]["modified_at"] == "1970-01-02T00:00:00.500Z"
    assert (page["root"], page["path"], page["cursor"]) == (0, "", None)


def test_a_folder_below_is_listed_by_its_path(root: Path) -> None:
    """Its names may be in any letters, and a slash at the end changes nothing."""
    below = root / "Fälle 2026" / "#7 %41"
    below.mkdir(parents=True)
    (below / "x.svs").touch()
    page = SlideFolders((root,)).page(0, "Fälle 2026/#7 %41/", None)
    assert (page["path"], names(page)) == ("Fälle 2026/#7 %41", ["x.svs"])


def test_what_leads_out_of_the_root_is_not_there(root: Path) -> None:
    """Neither as an entry, nor as a path through a link; links within the root are followed."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret.svs").touch()
    (root / "case").mkdir()
    (root / "case" / "in.svs").touch()
    (root / "link-out").symlink_to(outside)
    (root / "file-out.svs").symlink_to(outside / "secret.svs")
    (root / "nowhere.svs").symlink_to(root / "gone.svs")
    (root / "round").symlink_to(root / "round")
    (root / "link-in").symlink_to(root / "case")
    folders = SlideFolders((root,))
    assert names(folders.page(0, "", None)) == ["case", "link-in"]
    assert names(folders.page(0, "link-in", None)) == ["in.svs"]
    with pytest.raises(OrderError) as refused:
        folders.page(0, "link-out", None)
    assert refused.value.code == "not_found"


def test_hidden_files_and_names_that_are_no_text_are_not_there(root: Path) -> None:
    """A dot file is never listed and its folder never opened; JSON holds no broken UTF-8."""
    (root / ".hidden").mkdir()
    (root / ".hidden" / "a.svs").touch()
    (root / ".a.svs").touch()
    os.close(os.open(os.fsencode(root) + b"/broken-\xff.svs", os.O_CREAT))
    os.mkfifo(root / "pipe.svs")
    (root / "new\nline.svs").touch()
    folders = SlideFolders((root,))
    assert names(folders.page(0, "", None)) == ["new\nline.svs"]
    with pytest.raises(OrderError) as refused:
        folders.page(0, ".hidden", None)
    assert refused.value.code == "not_found"


@pytest.mark.parametrize("path", ["..", "../slides", "case/../..", "/etc", "/", "a\0b"])
def test_a_path_that_climbs_is_refused(root: Path, path: str) -> None:
    """400: it is no path below a root, whatever lies there."""
    (root / "case").mkdir()
    with pytest.raises(OrderError) as refused:
        SlideFolders((root,)).page(0, path, None)
    assert refused.value.code == "request_malformed"
    assert refused.value.field == "path"


@pytest.mark.parametrize(
    ("number", "path"), [(1, ""), (-1, ""), (0, "gone"), (0, "file.svs"), (0, "x" * 5000)]
)
def test_a_folder_that_is_not_there_is_not_found(root: Path, number: int, path: str) -> None:
    """404: no such root, no such folder, a file in place of one, a name too long for any."""
    (root / "file.svs").touch()
    with pytest.raises(OrderError) as refused:
        SlideFolders((root,)).page(number, path, None)
    assert refused.value.code == "not_found"


def test_a_large_folder_comes_in_pages(root: Path) -> None:
    """Each entry once, in order, though one that was seen is removed between two pages."""
    (root / "folder").mkdir()
    expected = [f"{number:04}.svs" for number in range(PAGE_ENTRIES + 20)]
    for name in expected:
        (root / name).touch()
    folders = SlideFolders((root,))
    first = folders.page(0, "", None)
    assert len(first["entries"]) == PAGE_ENTRIES
    (root / expected[PAGE_ENTRIES - 2]).unlink()
    second = folders.page(0, "", first["cursor"])
    assert second["cursor"] is None
    assert names(first) + names(second) == ["folder", *expected]


@pytest.mark.parametrize(
    "cursor",
    ["x", "%%%", "é", *(base64.urlsafe_b64encode(text).decode() for text in (b"[1]", b'["a",1]'))],
    ids=["short", "signs", "letters", "one-number", "wrong-types"],
)
def test_a_cursor_that_is_none_of_ours_is_refused(root: Path, cursor: str) -> None:
    """It may come from a link that was cut, or from somebody who tries."""
    with pytest.raises(OrderError) as refused:
        SlideFolders((root,)).page(0, "", cursor)
    assert refused.value.code == "request_malformed"
