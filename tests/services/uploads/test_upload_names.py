"""Files that were given different names stay different files, whatever is taken out of names."""

from pathlib import Path

import pytest

from broker.uploads import Uploads
from broker.uploads.names import safe_name
from tests.support.tus import TusCaller, id_of

UID = "1.2.826.0.1.3680043.8.498." + "1" * 38


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{UID}_{UID}_{UID}1.dcm", f"{UID}_{UID}_{UID}2.dcm"),
        ("a:1.dcm", "a?1.dcm"),
        ("a/1/2/3/4/x.dcm", "b/1/2/3/4/x.dcm"),
        ("a:/x.dcm", "a?/x.dcm"),
        ("../x.dcm", "x.dcm"),
        (".x.dcm", "x.dcm"),
        (" x.dcm", "x.dcm"),
        ("x.exe", "x_exe"),
        ("/x.dcm", "x.dcm"),
        ("a\\x.dcm", "a/x.dcm"),
        ("Gr\u00f6\u00dfe.dcm", "Gro\u0308\u00dfe.dcm"),
        ("", "file"),
        ("X.dcm", "x.dcm"),
        ("x" * 300 + "1", "x" * 300 + "2"),
        ("a:1.dcm", str(safe_name("a:1.dcm"))),
    ],
    ids=[
        *("long", "unsafe", "deep", "unsafe_folder", "parent", "hidden", "space", "suffix"),
        *("absolute", "backslash", "nfd", "nothing", "case", "long_no_suffix", "with_digest"),
    ],
)
def test_files_of_different_names_are_both_kept(
    tus: TusCaller, uploads: Uploads, one: str, other: str
) -> None:
    """Each with its own bytes, in either order; the same name again replaces its own file only."""
    for first, second in ((one, other), (other, one)):
        address = tus.send(b"first", first)
        set_id = uploads.set_id(id_of(address))
        tus.send(b"second", second, set_id)
        kept = {path.read_bytes() for _, path in uploads.files(set_id)}
        assert kept == {b"first", b"second"}
        tus.send(b"again", second, set_id)
        assert {path.read_bytes() for _, path in uploads.files(set_id)} == {b"first", b"again"}
        assert tus.offset(address) == len(b"first")


@pytest.mark.parametrize(
    "stem",
    [
        *("S1", "S:1", "x" * 300, "x" * 113, "a.b", " S1 ", ".S1", "../S1", "S.exe"),
        *("Gro\u0308\u00dfe?", "a/b/c/d/e/f/S1", "b:/S1"),
    ],
    ids=[
        *("plain", "unsafe", "long", "longer_than_kept", "dot", "spaces", "hidden", "parent"),
        *("other_suffix", "letters", "deep", "unsafe_folder"),
    ],
)
def test_an_mrxs_stays_beside_its_folder(tus: TusCaller, uploads: Uploads, stem: str) -> None:
    """The folder has the name of the file, whatever became of that."""
    set_id = uploads.set_id(id_of(tus.send(b"jpg", f"{stem}.mrxs")))
    tus.send(b"[GENERAL]", f"{stem}/Slidedat.ini", set_id)
    main = uploads.slide_path(set_id)
    assert main.suffix == ".mrxs"
    assert (main.with_suffix("") / "Slidedat.ini").read_bytes() == b"[GENERAL]"


def test_a_name_of_too_many_folders_is_refused(tus: TusCaller, folder: Path) -> None:
    """422, and nothing is made; 16 folders are taken."""
    assert tus.create(1, "d/" * 16 + "a.dcm").status_code == 201
    refused = tus.create(1, "d/" * 17 + "a.dcm")
    assert (refused.status_code, refused.json()["field"]) == (422, "Upload-Metadata")
    assert len(list(folder.glob("*/upload.json"))) == 1
