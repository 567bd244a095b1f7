"""`slidelane run`: one image in, files out, as the service would make them, with neither Redis nor
network."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import imagecodecs
import pytest

from demo.stack import belonging
from tests.support.command_line import begin, slidelane
from tests.support.slides import a_picture
from tests.support.stack import Stack, wait_for

UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
POLYGON = [[1001, 999], [2600, 1100], [2500, 2300], [1100, 2200]]
FILES = {
    "features.geojson",
    "features.geojson.gz",
    "findings.json",
    "findings.pmtiles",
    "objects.csv",
    "overlay.png",
    "region.geojson",
    "results.json",
}


def without_order(content: bytes) -> Any:
    """results.json without what names the order, its scan and the time."""
    document = json.loads(content)
    del document["produced"]["at"]
    return {name: value for name, value in document.items() if name not in ("order", "scan")}


def test_the_files_are_those_of_the_service(stack: Stack, slide: Path, tmp_path: Path) -> None:
    """Byte for byte, but for what names the order; in DEV mode also the old name of the overlay.

    Redis is dark: nobody listens at its port.
    """
    roi = tmp_path / "roi.geojson"
    geometry = {"type": "Polygon", "coordinates": [[*POLYGON, POLYGON[0]]]}
    roi.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    out = tmp_path / "new" / "out"
    done = slidelane(
        "run", slide, "--out", out, "--roi", roi, "--set", "positive_threshold=0.2",
        "--set", "worker.device=cpu", DEV="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == FILES | {"result.png"}
    assert "Ki-67 labelling index" in done.stdout
    assert f"  {out / 'overlay.png'}\n" in done.stdout
    assert f"{slide.name}: classifying 0/" in done.stderr

    source = {"type": "path", "path": str(slide)}
    order_id = stack.order(
        algorithm="ki67",
        parameters={"positive_threshold": 0.2},
        scans=[{"id": "1", "source": source, "roi": {"geojson": geometry}}],
    )
    assert stack.wait_until(order_id, "delivered", "failed")["state"] == "delivered"
    served: dict[str, bytes] = {}
    for file in stack.data.glob(f"results/{order_id}/*/*"):
        if file.is_file():
            served[file.name] = file.read_bytes()
    ours = {name: (out / name).read_bytes() for name in FILES}
    rows = [UUID.sub(b"", one["objects.csv"]) for one in (ours, served)]
    assert rows[0] == rows[1]
    assert rows[0].count(b"\n") > 100
    assert ours["overlay.png"] == served["overlay.png"] == (out / "result.png").read_bytes()
    features = [UUID.sub(b"", one["features.geojson"]) for one in (ours, served)]
    assert features[0] == features[1].replace(order_id.encode(), b"run")
    assert without_order(ours["results.json"]) == without_order(served["results.json"])


def test_a_scan_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """Status 1 with code, detail and hint; what was in the folder stays as it was."""
    picture = tmp_path / "picture.png"
    text = tmp_path / "slide.svs"
    text.write_text("no slide")
    picture.write_bytes(imagecodecs.png_encode(a_picture(300, 300)))
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "objects.csv").write_text("of an earlier run")
    cases = {
        "mpp_missing": (picture, "--out", kept),
        "not_a_slide": (text, "--out", tmp_path / "new" / "folder", "--algorithm", "grid"),
        "input_not_found": (tmp_path / "none", "--out", tmp_path / "new", "--algorithm", "grid"),
    }
    for code, arguments in cases.items():
        done = slidelane("run", *arguments)
        assert done.returncode == 1, (code, done.stderr)
        assert f"slidelane run: {code}: " in done.stderr
        assert len(done.stderr.strip().splitlines()) > 1
        assert "Traceback" not in done.stderr
    assert [path.name for path in kept.iterdir()] == ["objects.csv"]
    assert not (tmp_path / "new").exists()


RAISES = """\
def chosen(table):
    return table["b"]

def process_image(path, context):
    return chosen({"a": 1})
"""


def test_code_that_raises_is_shown_with_its_lines(slide: Path, tmp_path: Path) -> None:
    """Those of the author's file, from the outermost to the one that raised; the hint comes last."""
    file = tmp_path / "own.py"
    file.write_text(RAISES)
    done = slidelane(
        "run", slide, "--out", tmp_path / "out", "--algorithm", f"{file}:process_image"
    )
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    first = next(number for number, line in enumerate(lines) if "slidelane run: " in line)
    assert lines[first : first + 6] == [
        "slidelane run: algorithm_raised: own.py:2: KeyError: 'b'",
        "  own.py:5, in process_image",
        '      return chosen({"a": 1})',
        "  own.py:2, in chosen",
        '      return table["b"]',
        "  KeyError: 'b'",
    ]
    assert len(lines) == first + 7


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--roi", "1,2,3"), "--roi"),
        (("--mpp", "much"), "--mpp"),
        (("--mpp", "0"), "mpp: Input should be greater than 0"),
        (("--set", "nothing"), "--set"),
        (("--algorithm", "none"), "algorithm_unknown"),
        (("--algorithm", "grid", "--set", "rows=much"), "parameters_invalid"),
        (("--algorithm", "grid", "--roi", "0,0 9,9 9,0 0,9"), "request_invalid"),
    ],
)
def test_a_wrong_request_ends_with_status_2(
    slide: Path, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    """The option or parameter is named; no folder is left."""
    done = slidelane("run", slide, "--out", tmp_path / "out", *arguments)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(slide: Path, tmp_path: Path) -> None:
    """A file where the folder should be: a sentence, no traceback."""
    (tmp_path / "file").write_text("mine")
    done = slidelane("run", slide, "--out", tmp_path / "file")
    assert done.returncode == 1
    assert "--out" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_leaves_nothing_behind(slide: Path, tmp_path: Path) -> None:
    """No file, no folder, no process, at the moment when the slide is read."""
    copy = tmp_path / "copy.svs"
    shutil.copy(slide, copy)
    process = begin("run", copy, "--out", "out", "--set", "worker.threads=1", cwd=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "tissue" in line or "classifying" in line:
            break
    started = list(belonging(tmp_path))
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "nothing was written" in rest
    assert not (tmp_path / "out").exists()
    assert started
    wait_for(lambda: not list(belonging(tmp_path)), what="the end of every process")


def test_an_earlier_result_is_replaced(slide: Path, tmp_path: Path) -> None:
    """Files of a result only; a file that this run did not make is removed, others stay."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.png").write_text("of an earlier run")
    (out / "notes.txt").write_text("mine")
    done = slidelane(
        "run", slide, "--out", out, "--algorithm", "grid", "--set", "rows=3", "--roi", "square"
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == FILES | {"notes.txt"}
    assert json.loads((out / "results.json").read_bytes())["parameters"]["rows"] == 3
