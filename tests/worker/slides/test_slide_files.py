"""Which files a decoder process gets to see: those of its slide, wherever links put them."""

from pathlib import Path

import pytest

from worker.slides.partial import manifest
from worker.slides.slide_files import files_of

DICOM = bytes(128) + b"DICM"


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.png", "a.czi", "a"])
def test_of_a_slide_in_one_file_that_file_alone(tmp_path: Path, name: str) -> None:
    """Beside it may be other patients' slides."""
    (tmp_path / name).write_bytes(b"II*\0")
    (tmp_path / "other.svs").touch()
    assert files_of(tmp_path / name) == [tmp_path / name]


def test_of_a_slide_with_a_folder_that_folder(tmp_path: Path) -> None:
    """A MIRAX slide's, also where its suffix is written in capitals."""
    for name in ("a.mrxs", "a.MRXS"):
        assert files_of(tmp_path / name) == [tmp_path / name]
        (tmp_path / "a").mkdir(exist_ok=True)
        assert files_of(tmp_path / name) == [tmp_path / name, tmp_path / "a"]
        (tmp_path / "a").rmdir()


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.vms", b"[Virtual"), ("a.vmu", b"["), ("a", DICOM), (manifest.NAME, manifest.MARK)],
)
def test_of_a_slide_with_files_beside_it_their_folder(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """A DICOM file is one by its content, whatever its name is."""
    (tmp_path / name).write_bytes(content)
    assert files_of(tmp_path / name) == [tmp_path / name, tmp_path]


def test_links_are_followed(tmp_path: Path) -> None:
    """The files of a series may be links to an archive, whose folder is not shown."""
    archive, series = tmp_path / "archive", tmp_path / "series"
    archive.mkdir()
    series.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (archive / name).write_bytes(DICOM)
        (series / name).symlink_to(archive / name)
    (series / "3.dcm").write_bytes(DICOM)
    shown = files_of(series / "3.dcm")
    assert set(shown) == {series / "3.dcm", series, archive / "1.dcm", archive / "2.dcm"}


def test_what_is_not_there_is_left_to_the_reader_to_say(tmp_path: Path) -> None:
    """Its error names what is wrong; nothing is raised before."""
    assert files_of(tmp_path / "missing" / "a.dcm") == [tmp_path / "missing" / "a.dcm"]
