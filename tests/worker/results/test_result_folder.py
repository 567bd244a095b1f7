"""A scan's results on disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.orders.roi import Rings
from tests.support.paths import ROOT
from tests.support.results import WARNINGS, Drawn, a_result, nuclei, objects, same
from worker.geometry.frame import Area
from worker.results import result_folder
from worker.results.object_store import ObjectStore

FILES = {
    "findings",
    "results.json",
    "features.geojson",
    "features.geojson.gz",
    "objects.csv",
    "region.geojson",
    "overlay.png",
    "findings.json",
    "findings.pmtiles",
}


@pytest.mark.parametrize("count", [0, 1, 9])
def test_what_is_kept_comes_back_to_the_last_bit(tmp_path: Path, count: int) -> None:
    """Floats, frames, words and parameters survive the disk unchanged, also where nothing was
    found."""
    result = a_result(nuclei(count), warnings=WARNINGS)
    result_folder.save(tmp_path / "orders" / "0.1", result, Drawn(b"png"))
    loaded = result_folder.load(tmp_path / "orders" / "0.1")
    assert same(loaded, result)
    assert list(loaded.findings.summary) == list(result.findings.summary)


@pytest.mark.parametrize(
    "polygons",
    [
        (((1.5, 2.0), (9.0, 2.0), (3.0, 8.25)),),
        (((0.0, 0.0), (9.0, 0.0), (0.0, 9.0)), ((1.0, 1.0), (2.0, 1.0), (1.0, 2.1))),
    ],
)
def test_the_polygons_of_the_area_come_back(tmp_path: Path, polygons: Rings) -> None:
    """A simple polygon, and one with a hole."""
    result = a_result(area=Area(0, 0, 9, 9, (polygons,)))
    result_folder.save(tmp_path / "r", result, Drawn(b"png"))
    assert result_folder.load(tmp_path / "r").findings.area == result.findings.area
    stated = json.loads((tmp_path / "r" / "results.json").read_bytes())["area"]
    assert stated == json.loads(json.dumps(result.findings.area.as_dict()))


def test_the_files_appear_together(tmp_path: Path) -> None:
    """A folder that exists holds all of them, and nothing else lies beside it."""
    result_folder.save(tmp_path / "r", a_result(), Drawn(b"png"))
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert (tmp_path / "r" / "overlay.png").read_bytes() == b"png"


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A summary that is no JSON is a bug that surfaces, and no half a result stays behind."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        result_folder.save(tmp_path / "r", a_result(summary={"index": float("nan")}), Drawn(b"png"))
    assert list(tmp_path.iterdir()) == []


def test_a_second_result_takes_the_first_ones_place(tmp_path: Path) -> None:
    """The folder holds the later result as a whole."""
    result_folder.save(tmp_path / "r", a_result(nuclei(3)), Drawn(b"one"))
    result_folder.save(tmp_path / "r", a_result(nuclei(5)), Drawn(b"two"))
    assert len(result_folder.load(tmp_path / "r").findings.objects) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_objects_in_an_object_store_are_moved(tmp_path: Path) -> None:
    """What is on the disk already is not written again, and nothing of it stays where it was."""
    store = ObjectStore.begin(tmp_path / "found")
    store.append(nuclei(9))
    result_folder.save(tmp_path / "r", a_result(store), Drawn(b"png"))
    assert same(result_folder.load(tmp_path / "r"), a_result(nuclei(9)))
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


KILLED_WHILE_WRITING = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.results import Drawn, a_result
from worker.results import result_folder
from worker.results.object_store import ObjectStore

class Fatal(dict):
    def items(self):
        os.kill(os.getpid(), {signal})

result_folder.save(Path({folder!r}), a_result(parameters=Fatal(a=1)), Drawn(b"png"))
"""


def test_a_worker_killed_while_keeping_leaves_no_result(tmp_path: Path) -> None:
    """After SIGKILL in the middle of writing there is no folder of the result's name, and keeping
    it again works."""
    script = KILLED_WHILE_WRITING.format(
        root=str(ROOT), signal=int(signal.SIGKILL), folder=str(tmp_path / "r")
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(tmp_path.iterdir())
    assert not (tmp_path / "r").exists()
    result_folder.save(tmp_path / "r", a_result(), Drawn(b"png"))
    assert same(result_folder.load(tmp_path / "r"), a_result())


def test_results_json_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    """It is sorted ASCII without times, and states frame, area, counts and where the result comes
    from."""
    for name in ("a", "b"):
        result_folder.save(tmp_path / name, a_result(warnings=WARNINGS), Drawn(b"png"))
    first, second = ((tmp_path / name / "results.json").read_bytes() for name in ("a", "b"))
    assert first == second
    document = json.loads(first.decode("ascii"))
    assert document["frame"]["bounds_offset"] == [16, 8]
    assert document["area"] == {"x": 1000, "y": 500, "width": 600, "height": 400}
    assert document["counts"] == {"negative": 5, "positive": 4}
    assert document["ruo"] is True
    assert document["schema"] == "slidelane.results/1"
    assert document["produced"] == {"at": "2026-11-21T07:00:00+00:00", "device": "cpu"}
    assert document["warnings"] == [{"code": "stain_unexpected", "detail": "it looks like H&E"}]


def test_a_class_without_objects_is_counted_as_zero() -> None:
    """Every class of the card has a count."""
    assert a_result(objects([], [])).counts() == {"negative": 0, "positive": 0}
