"""Functions of the kind `python`: what counts as progress, what Techcyte gets, what is told."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from broker.orders.result_files import POSTED
from demo.techcyte_rules import check_results
from tests.support.python_scans import Recorder, code, dotted, entry, features, results, run
from worker.delivery.destinations.techcyte import payload
from worker.results import result_folder

ENTRY: dict[str, Any] = {
    "scanId": "mine",
    "results": {"summary": "one dot", "grade": 2.50},
    "geojson": {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "bbox": [40.125, 40.0, 60.0, 60.0],
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[40.125, 40.0], [60.0, 40.0], [60.0, 60.0], [40.125, 40.0]]],
                },
                "properties": {"annotation_type": "my_dot"},
            }
        ],
    },
    "workflow": {
        "model_name": "theirs",
        "provider": "The lab",
        "ruo": True,
        "key": "Dots",
        "value": "1 of 2",
        "report": {"type": "Basic", "results": [{"name": "Dots", "result": "1"}], "segments": []},
    },
}

FUNCTIONS = """
import os, subprocess, sys, threading, time
import numpy as np
from slidelane.algorithms import Card, Class, Found, Result

CARD = Card("Own", "objects", (Class("dot"), Class("ring")))

def computed(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))

def silent(path, context):
    if context.labels["how"] == "itself":
        computed(5)
    if context.labels["how"] == "program":
        loop = "import time; end = time.monotonic() + 5\\nwhile time.monotonic() < end: pass"
        subprocess.run([sys.executable, "-c", loop], check=True)
    if context.labels["how"] == "sleep":
        time.sleep(60)
    return []

def looked_up(table, kind):
    return table[kind]

def raises(path, context):
    table = {"dot": 1}
    return looked_up(table, "ring")

def one(path, context):
    x, y, width, height = context.roi.box
    return [Found(x + 10, y + 10, "dot")]

def techcyte(path, context):
    context.warn("odd", "said")
    return {"scanResults": [ENTRY]}

techcyte.card = Card("Posts", "objects")

class Uneven:
    card = Card("Uneven", "embeddings", mpp=0.5, input_px=32, batch=1)
    calls = 0
    def classify(self, batch):
        assert len(batch) == 1
        self.calls += 1
        return np.zeros((1, 3 + self.calls // 40), np.float32)

class Report:
    card = Card("Darkness", "report", (Class("dark"),))
    def __call__(self, path, context):
        if context.labels["how"] == "figures":
            return Result(summary={"darkness": 0.25, "tiles": 3, "note": "so", "is_dark": True})
        return []
"""
FUNCTIONS += f"ENTRY = {ENTRY!r}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("functions")


@pytest.fixture(scope="module")
def slide(folder: Path) -> Path:
    return dotted(folder)


@pytest.fixture(scope="module")
def functions(folder: Path) -> Path:
    return code(folder, FUNCTIONS, "functions.py")


class WatchedRecorder(Recorder):
    """Also notes that the work moves on without a report."""

    moves = 0

    def moved(self) -> None:
        self.moves += 1


@pytest.mark.parametrize("how", ["itself", "program"])
def test_a_function_that_computes_and_says_nothing_is_not_ended(
    functions: Path, slide: Path, tmp_path: Path, how: str
) -> None:
    """Beyond its stall limit, in its own process or in a program that it has started.

    Whoever watches the worker's own progress hears of it.
    """
    progress = WatchedRecorder()
    found = run(
        entry(functions, "silent"),
        slide,
        tmp_path,
        progress,
        stall_limit_s=3,
        labels={"how": how},
    )
    assert features(found) == []
    assert progress.moves


def test_a_function_that_waits_and_says_nothing_is_ended(
    functions: Path, slide: Path, tmp_path: Path
) -> None:
    """Nothing tells it from one that hangs."""
    with pytest.raises(OrderError) as caught:
        run(entry(functions, "silent"), slide, tmp_path, stall_limit_s=2, labels={"how": "sleep"})
    assert (caught.value.code, caught.value.blame) == ("stalled", "algorithm")


def test_an_exception_has_the_lines_of_the_code(
    functions: Path, slide: Path, tmp_path: Path
) -> None:
    """From the function that was called down to the line that raised, without any path."""
    with pytest.raises(OrderError) as caught:
        run(entry(functions, "raises"), slide, tmp_path)
    lines = FUNCTIONS.splitlines()
    inner = lines.index("    return table[kind]") + 1
    outer = lines.index('    return looked_up(table, "ring")') + 1
    assert caught.value.detail == f"functions.py:{inner}: KeyError: 'ring'"
    assert caught.value.__notes__ == [
        f"functions.py:{outer}, in raises",
        '    return looked_up(table, "ring")',
        f"functions.py:{inner}, in looked_up",
        "    return table[kind]",
        "KeyError: 'ring'",
    ]


def test_batches_that_are_answered_in_different_shapes_are_told(
    functions: Path, slide: Path, tmp_path: Path
) -> None:
    """With both; each batch is as large as the card says, however many tiles are asked for."""
    with pytest.raises(OrderError, match=r"3.* 4|4.* 3") as caught:
        run(entry(functions, "Uneven"), slide, tmp_path)
    assert (caught.value.code, caught.value.blame) == ("algorithm_answer_invalid", "algorithm")


def test_one_object_is_one(functions: Path, slide: Path, tmp_path: Path) -> None:
    """In the headline, and in the warning about what lies outside."""
    found = run(entry(functions, "one"), slide, tmp_path)
    assert results(found)["headline"] == "1 object: 1 dot, 0 ring"


def test_a_report_counts_no_objects_where_it_draws_none(
    functions: Path, slide: Path, tmp_path: Path
) -> None:
    """Its own figures are the headline; without any, that there is nothing."""
    report = entry(functions, "Report")
    figures = run(report, slide, tmp_path, labels={"how": "figures"})
    assert results(figures)["headline"] == "darkness 0.25, tiles 3"
    nothing = run(report, slide, tmp_path, fence=2, labels={"how": "nothing"})
    assert results(nothing)["headline"] == "0 objects"


def posted_of(folder: Path) -> Any:
    """What Techcyte gets of this result."""
    file = io.BytesIO()
    result = replace(result_folder.load(folder), posted=folder / POSTED)
    payload.write([result], file)
    return check_results(file.getvalue())["scanResults"]


def test_techcyte_gets_an_answer_in_its_shape_as_it_is(
    functions: Path, slide: Path, tmp_path: Path
) -> None:
    """Every number, name and type, but for the ids of the scan and the order; no warning is added.

    An entry that was changed on the way is not sent.
    """
    found = run(entry(functions, "techcyte"), slide, tmp_path)
    own = {"scanId": "1", "results": {"summary": "one dot", "grade": 2.5, "order_id": "1"}}
    assert posted_of(found) == [ENTRY | own]
    assert results(found)["summary"]["grade"] == 2.5
    assert [one["code"] for one in results(found)["warnings"]][-1] == "odd"
    assert len(features(found)) == 1

    posted = found / POSTED
    kept = json.loads(posted.read_bytes())["scanResults"][0]
    for changed in ({"scanId": "2"}, {"results": "none"}, {"geojson": {"type": "Point"}}):
        posted.write_text(json.dumps({"scanResults": [kept | changed]}))
        with pytest.raises(OrderError) as caught:
            posted_of(found)
        assert caught.value.code == "parcel_invalid"
