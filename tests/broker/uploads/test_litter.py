"""Which names are those of files that file managers add."""

import pytest

from broker.uploads.litter import is_litter


@pytest.mark.parametrize(
    "name",
    [
        *(".DS_Store", "case/.DS_Store", "case\\.DS_Store", "._case.mrxs", "case/._1.dcm"),
        *("__MACOSX/._case", "a/__MACOSX/case/1.dcm", "Thumbs.db", "case\\thumbs.db"),
        *("Desktop.ini", "case/desktop.ini", "DICOMDIR", "case/DICOMDIR"),
    ],
    ids=lambda name: name.replace("/", " in ").replace("\\", " within "),
)
def test_files_of_file_managers_are_litter(name: str) -> None:
    """In any folder, of any system, in capitals or not."""
    assert is_litter(name)


@pytest.mark.parametrize(
    "name",
    [
        *("case.mrxs", "case/Slidedat.ini", "case/_1.dcm", ".hidden.svs", "my desktop.ini"),
        *("Thumbs.db/a.svs", "x.DS_Store", "__MACOSX", "DICOMDIR.dcm", ""),
    ],
    ids=lambda name: name.replace("/", " in ") or "nothing",
)
def test_files_of_slides_are_none(name: str) -> None:
    """Names that begin, end or continue alike."""
    assert not is_litter(name)
