"""`slidelane.algorithms.run`: an algorithm on one image, in processes of the worker's own."""

from pathlib import Path

import pytest

from slidelane.algorithms import RunError, run
from tests.support.python_scans import code, dotted

OWN = """
from slidelane.algorithms import Card, Class, Found, Parameter, Result
def process_image(path, context):
    x, y, width, height = context.roi.box
    note = context.folder / "notes.txt"
    note.write_text(repr(context.parameters["tag"]))
    middle = Found(x + width / 2, y + height / 2, "middle")
    return Result([middle], headline="one", summary={"box": [x, y, width, height]},
                  files={"notes.txt": note}, warnings=[("odd", "so")])
process_image.card = Card("Own", "objects", (Class("middle"),), parameters=(Parameter("tag", "a"),))
"""


def test_the_result_is_that_of_the_command(tmp_path: Path) -> None:
    """Figures, features, warnings and files; a text that looks like a number stays a text.

    Files of an earlier result are replaced, those of the algorithm's code too. What is not kept is
    not named.
    """
    algorithm = f"{code(tmp_path, OWN, 'own.py')}:process_image"
    slide = dotted(tmp_path)
    found = run(algorithm, slide, roi=(20, 10, 100, 80), device="cpu", tag="5")
    assert found.summary == {"box": [20, 10, 100, 80]}
    assert (found.headline, found.files) == ("one", {})
    assert list(found.warnings)[-1] == ("odd", "so")
    assert found.geojson is not None
    assert len(found.geojson["features"]) == 1
    out = tmp_path / "out"
    (out / "files").mkdir(parents=True)
    (out / "files" / "notes.txt").write_text("of an earlier one")
    kept = run(algorithm, slide, out=out, device="cpu", tag="5")
    assert kept.files["files/notes.txt"].read_text() == "'5'"
    assert kept.files["results.json"] == out / "results.json"
    with pytest.raises(RunError, match="other"):
        run(algorithm, slide, device="cpu", other=1)
