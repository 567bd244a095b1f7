"""The browser libraries of the page are the files that vendor.json states."""

import hashlib
import json

from tests.support.paths import ROOT

FOLDER = ROOT / "services" / "web" / "vendor"
ENTRIES = json.loads((FOLDER / "vendor.json").read_text())


def test_every_library_is_the_file_that_was_fetched() -> None:
    """A library that somebody edited by hand would be lost with the next update."""
    for entry in ENTRIES:
        digest = hashlib.sha256((FOLDER / entry["file"]).read_bytes()).hexdigest()
        assert digest == entry["sha256"], entry["file"]


def test_every_library_comes_with_its_licence() -> None:
    """Each licence of the libraries asks for its text beside them."""
    for entry in ENTRIES:
        assert (FOLDER / f"{entry['package']}.LICENSE.txt").stat().st_size > 0


def test_vendor_json_states_every_script() -> None:
    """A script that it does not state has no version and no source."""
    scripts = {file.name for file in FOLDER.glob("*.js")}
    assert scripts == {entry["file"] for entry in ENTRIES}


def test_the_notice_names_every_library() -> None:
    """Who passes Slidelane on passes these libraries on, too."""
    notice = (ROOT / "NOTICE").read_text()
    for entry in ENTRIES:
        assert f"services/web/vendor/{entry['package']}.LICENSE.txt" in notice
        assert entry["licence"] in notice
        assert entry["file"] in notice
