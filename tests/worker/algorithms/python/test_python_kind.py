"""The kind `python` on a slide with nine squares: tile models, image functions, and what is wrong.

The code runs in processes of its own; the worker's pipeline runs in this one.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from broker.errors import OrderError
from broker.settings.config import ConfigError
from tests.support.python_scans import (
    TOKEN,
    Recorder,
    code,
    dotted,
    entry,
    features,
    results,
    run,
)
from worker.algorithms import registry
from worker.process.process_tree import descendants
from worker.progress import CANCELLED, StopWork
from worker.results import result_folder

TILE_MODELS = """
import os, sys, time
import cv2, numpy as np
from slidelane.algorithms import Card, Class, Found, Parameter

DOT = Class("dot", "#d55e00", annotation_type="dark_dot")
CARD = dict(mpp=0.5, input_px=128, halo_px=16, batch=4)

def centres(tile, least=120):
    found = cv2.connectedComponentsWithStats((tile.mean(axis=2) < least).astype(np.uint8))
    return found[3][1:]

class Own:
    card = Card("Dots", "objects", (DOT,), measurements=("darkness",), parameters=(
        Parameter("least", 120.0, minimum=0, maximum=255),), **CARD)
    threads = 2
    loads = 0
    def load(self, device):
        self.loads += 1
        print("loaded on", device)
    def prepare(self, context):
        self.least = context.parameters["least"]
        self.samples = context.samples.shape
        print(context.order_id, context.scan_id, context.roi.box, context.roi.contains(1, 1))
        context.warn("Own Warning", "said")
    def classify(self, batch):
        assert batch.shape[1:] == (128, 128, 3) and batch.dtype == np.uint8
        batch[:] //= 1
        return [[self.found(x, y) for x, y in centres(tile, self.least)] for tile in batch]
    def found(self, x, y):
        ring = [(x - 4.5, y - 4.5), (x + 5.5, y - 4.5), (x + 5.5, y + 5.5), (x - 4.5, y + 5.5)]
        return Found(x + 0.5, y + 0.5, "dot", 0.75, ring, {"darkness": 1.5})
    def summarise(self, counts, context):
        figures = {"dots": counts["dot"], "samples": list(self.samples), "loads": self.loads}
        return figures, f"{counts['dot']} dots"

class Tiles:
    card = Card("Shares", "tiles", (Class("light"), Class("dark")), **CARD)
    def classify(self, batch):
        dark = (batch.mean(axis=3) < 120).mean(axis=(1, 2))
        return np.stack([1 - dark, dark], axis=1)

class Vectors:
    card = Card("Vectors", "embeddings", **CARD)
    def classify(self, batch):
        return batch.mean(axis=(1, 2)).astype(np.float32)

class Raises:
    card = Card("Raises", "objects", (DOT,), **CARD)
    def classify(self, batch):
        return helper(batch)

def helper(batch):
    raise ValueError("no such luck")

class Wrong:
    card = Card("Wrong", "objects", (DOT,), **CARD)
    def classify(self, batch):
        found = [[Found(float("nan"), 0, 0)] for _ in batch]
        return found

class Changes:
    card = Card("Changes", "objects", (DOT,), **CARD)
    def prepare(self, context):
        os.chdir("/")
        sys.setrecursionlimit(5000)
    def classify(self, batch):
        return [[] for _ in batch]
    def summarise(self, counts, context):
        return {"pid": os.getpid()}, "x"

class Steady(Changes):
    def prepare(self, context):
        pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def slide(folder: Path) -> Path:
    return dotted(folder)


@pytest.fixture(scope="module")
def models(folder: Path) -> Path:
    return code(folder, TILE_MODELS, "models.py")


def centres_of(found: Path) -> list[list[float]]:
    rings = [one["geometry"]["coordinates"][0][:-1] for one in features(found)]
    return sorted([sum(x for x, _ in ring) / 4, sum(y for _, y in ring) / 4] for ring in rings)


NINE = sorted([float(x), float(y)] for x in (50, 150, 250) for y in (50, 150, 250))


def test_a_tile_model_is_loaded_once_and_its_objects_are_right(
    models: Path, slide: Path, tmp_path: Path
) -> None:
    """Nine objects, once each over tile borders, measured, summarised by the code itself.

    A second scan has the same bytes and does not load anew; what was printed is kept.
    """
    first = run(entry(models), slide, tmp_path)
    found = results(first)
    assert centres_of(first) == NINE
    assert found["summary"] == {"dots": 9, "samples": [8, 96, 96, 3], "loads": 1}
    assert found["headline"] == "9 dots"
    assert [one["code"] for one in found["warnings"]][-1] == "own_warning"
    printed = (first / "output.log").read_text()
    assert printed.splitlines() == ["loaded on cpu", "1 1 (0, 0, 300, 300) True"]
    second = run(entry(models), slide, tmp_path, fence=2)
    for name in ("features.geojson", "objects.csv", "results.json"):
        assert (second / name).read_bytes() == (first / name).read_bytes()
    few = run(entry(models), slide, tmp_path, fence=3, parameters={"least": 10.0})
    assert results(few)["summary"]["dots"] == 0
    with pytest.raises(OrderError) as caught:
        run(entry(models), slide, tmp_path, parameters={"least": 300.0})
    assert caught.value.code == "parameters_invalid"


def test_probabilities_of_tiles_are_squares(models: Path, slide: Path, tmp_path: Path) -> None:
    """The answers of a tile model go through the same mergers as those of a network."""
    found = run(entry(models, "Tiles"), slide, tmp_path)
    assert len(features(found)) == 16
    assert {one["properties"]["objectType"] for one in features(found)} == {"tile"}


def test_vectors_of_tiles_are_embeddings(models: Path, slide: Path, tmp_path: Path) -> None:
    """They are in embeddings.h5, as those of a network are."""
    found = run(entry(models, "Vectors"), slide, tmp_path)
    assert results(found)["summary"]["dimensions"] == 3
    assert (found / "embeddings.h5").exists()


@pytest.mark.parametrize(
    ("name", "raised", "detail"),
    [
        ("Raises", "algorithm_raised", "models.py:54: ValueError: no such luck"),
        (
            "Wrong",
            "algorithm_answer_invalid",
            "answer[0][0].x: nan is not finite (models.py:60)",
        ),
    ],
)
def test_what_the_code_does_wrong_is_said_with_its_line(
    models: Path, slide: Path, tmp_path: Path, name: str, raised: str, detail: str
) -> None:
    """An exception names the innermost line of the author, a wrong answer that of its return."""
    with pytest.raises(OrderError) as caught:
        run(entry(models, name), slide, tmp_path)
    assert (caught.value.code, caught.value.detail) == (raised, detail)
    assert caught.value.blame == "algorithm"


def test_a_scan_that_changes_the_process_has_the_next_one_begin_anew(
    models: Path, slide: Path, tmp_path: Path
) -> None:
    """Another process after a change of the working directory, the same one without."""
    changed = [
        results(run(entry(models, "Changes"), slide, tmp_path, fence=fence))["summary"]["pid"]
        for fence in (1, 2)
    ]
    steady = [
        results(run(entry(models, "Steady"), slide, tmp_path, fence=fence))["summary"]["pid"]
        for fence in (3, 4)
    ]
    assert changed[0] != changed[1]
    assert steady[0] == steady[1]


IMAGE = """
import json, os, subprocess, sys, time
from slidelane.algorithms import Card, Class, Found, Result
DOT = Card("F", "objects", (Class("dot", "#009e73"),))

def square(x, y, half=5):
    ring = [[x-half, y-half], [x+half, y-half], [x+half, y+half], [x-half, y+half], [x-half, y-half]]
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {"classification": {"name": "dot"}, "measurements": {"size": 2.0 * half}}}

def body():
    features = [{"type": "Feature", "bbox": [10, 10, 20, 20], "geometry": square(15, 15)["geometry"],
                 "properties": {"annotation_type": "dot"}}]
    return {"scanId": "theirs", "results": {"summary": "one dot", "order_id": "x", "grade": 2},
            "geojson": {"type": "FeatureCollection", "features": features},
            "workflow": {"model_name": "m", "provider": "p", "ruo": True, "key": "k", "value": "v",
                         "report": {"type": "Basic", "results": [], "segments": []}}}

def process_image(path, context):
    print("TOKEN")
    print(os.path.exists(path), sorted(name for name in os.environ if name.startswith("SLIDELANE")))
    kind = context.labels.get("kind", "tiles")
    if kind == "tiles":
        assert context.read(45, 45, 10, 10).mean() < 120
        assert context.read(0, 0, 30, 30, mpp=1.0).shape == (30, 30, 3)
        found = []
        for tile in context.tiles(mpp=0.5, size_px=100, halo_px=10):
            assert tile.pixels.shape == (120, 120, 3) and tile.count == 9
            (x, y), = tile.level0([(60, 60)])
            assert (x, y) == (tile.x + 50, tile.y + 50)
            found.append(square(x, y))
            context.progress(tile.number + 1, tile.count)
        return {"type": "FeatureCollection", "features": found}
    if kind == "found":
        return [Found(50, 50, "dot"), Found(900, 50, 0)]
    if kind == "result":
        (context.folder / "notes.txt").write_text("kept")
        return Result([Found(50, 50, "dot", 0.5)], summary={"mine": 1}, headline="mine",
                      files={"notes.txt": context.folder / "notes.txt"}, warnings=[("odd", "so")])
    if kind == "file":
        (context.folder / "a.geojson").write_text(json.dumps([square(50, 50)]))
        return "a.geojson"
    if kind == "techcyte":
        return {"scanResults": [body()]}
    if kind == "techcyte wrong":
        wrong = body()
        del wrong["workflow"]["report"]
        return wrong
    if kind == "outside file":
        return "/etc/passwd"
    if kind == "none":
        return
    if kind == "open ring":
        bad = square(50, 50)
        bad["geometry"]["coordinates"][0][-1] = [0, 0]
        return [square(9, 9)] * 17 + [bad]
    if kind == "exit":
        os._exit(3)
    if kind == "crash":
        import ctypes
        ctypes.string_at(0)
    if kind == "leaves":
        subprocess.Popen(["sleep", "600"])
        subprocess.Popen(["setsid", "sleep", "600"])
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
        return []
    if kind == "prints":
        for _ in range(40):
            print("x" * 2**20)
        return []
    if kind == "hangs":
        context.progress(1, 2)
        time.sleep(600)
    if kind == "loops":
        while True:
            context.progress(1, 2)
            time.sleep(0.01)
process_image.card = DOT
"""


@pytest.fixture(scope="module")
def function(folder: Path) -> Any:
    return entry(code(folder, IMAGE.replace("TOKEN", TOKEN), "image.py"), "process_image")


def kind(name: str) -> dict[str, Any]:
    return {"labels": {"kind": name}}


def test_an_image_function_reads_tiles_and_answers_features(
    function: Any, slide: Path, tmp_path: Path
) -> None:
    """Nine polygons with a measurement; the code sees the slide and no setting of ours.

    Secrets that it prints are masked in its log.
    """
    progress = Recorder()
    found = run(function, slide, tmp_path, progress)
    assert centres_of(found) == NINE
    assert ("classifying", 9, 9) in progress.reports
    assert results(found)["summary"]["objects_by_class"] == {"dot": 9}
    assert (found / "output.log").read_text() == "…\nTrue []\n"
    header = (found / "objects.csv").read_text().splitlines()[0]
    assert header.endswith(",size")


def test_every_kind_of_answer_becomes_a_result(function: Any, slide: Path, tmp_path: Path) -> None:
    """Found, Result, a file, and Techcyte's body; what lies outside is dropped and counted."""
    found = run(function, slide, tmp_path, fence=1, **kind("found"))
    assert len(features(found)) == 1
    assert results(found)["warnings"][-1]["code"] == "outside_roi"
    made = run(function, slide, tmp_path, fence=2, **kind("result"))
    assert results(made)["summary"] == {"mine": 1}
    assert results(made)["headline"] == "mine"
    assert results(made)["warnings"][-1] == {"code": "odd", "detail": "so"}
    assert (made / "files" / "notes.txt").read_text() == "kept"
    assert "files/notes.txt" in result_folder.optional_files(made)
    assert len(features(run(function, slide, tmp_path, fence=3, **kind("file")))) == 1
    body = run(function, slide, tmp_path, fence=4, **kind("techcyte"))
    assert results(body)["headline"] == "one dot"
    assert results(body)["summary"]["grade"] == 2
    assert len(features(body)) == 1


@pytest.mark.parametrize(
    ("name", "raised", "detail"),
    [
        ("none", "algorithm_answer_invalid", "answer: process_image returned nothing; return []"),
        (
            "open ring",
            "algorithm_answer_invalid",
            "features[17].geometry.coordinates[0]: ring is not closed (image.py:",
        ),
        ("techcyte wrong", "algorithm_answer_invalid", "scanResults: the results break"),
        ("outside file", "algorithm_answer_invalid", "answer: passwd does not lie in"),
        ("exit", "algorithm_raised", "its process ended with exit status 3"),
        ("crash", "algorithm_raised", "its process ended with SIGSEGV"),
    ],
)
def test_a_wrong_answer_or_a_crash_fails_its_own_scan(
    function: Any, slide: Path, tmp_path: Path, name: str, raised: str, detail: str
) -> None:
    """The code and what is wrong are told, and the next scan of the same code is right."""
    with pytest.raises(OrderError) as caught:
        run(function, slide, tmp_path, **kind(name))
    assert caught.value.code == raised
    assert caught.value.detail.startswith(detail)
    assert caught.value.blame == "algorithm"
    assert len(features(run(function, slide, tmp_path, fence=2, **kind("found")))) == 1


def test_nothing_that_a_scan_started_is_left(function: Any, slide: Path, tmp_path: Path) -> None:
    """Children, sessions of their own and daemons have ended when the result is there."""
    run(function, slide, tmp_path, **kind("leaves"))
    sleeping = [
        pid
        for pid in descendants(os.getpid())
        if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert sleeping == []


def test_a_log_is_cut_at_ten_megabytes(function: Any, slide: Path, tmp_path: Path) -> None:
    """Of 40 MB that are printed 10 are kept, and the end says so."""
    found = run(function, slide, tmp_path, **kind("prints"))
    log = (found / "output.log").read_bytes()
    assert 10 * 2**20 - 100 <= len(log) < 10 * 2**20 + 100  # a secret is masked
    assert log.endswith(b"... cut\n")


def test_code_that_hangs_is_ended_at_its_stall_limit(
    function: Any, slide: Path, tmp_path: Path
) -> None:
    """The scan fails as any other that makes no progress, and the worker goes on."""
    with pytest.raises(OrderError) as caught:
        run(function, slide, tmp_path, stall_limit_s=2, **kind("hangs"))
    assert (caught.value.code, caught.value.blame) == ("stalled", "algorithm")


@pytest.mark.parametrize("name", ["hangs", "loops"])
def test_a_cancelled_scan_stops_whatever_the_code_does(
    function: Any, slide: Path, tmp_path: Path, name: str
) -> None:
    """StopWork comes out, from code that asks for progress and from code that sleeps."""

    class Cancelling(Recorder):
        def report(self, step: str, done: int, total: int) -> None:
            if (step, done) == ("classifying", 1):
                self.stop = StopWork(CANCELLED)
            super().report(step, done, total)

    with pytest.raises(StopWork):
        run(function, slide, tmp_path, Cancelling(), **kind(name))


API = "from slidelane.algorithms import *\nclass A:\n    card = "
CLASSIFY = "    def classify(self, b): pass"
COUNTING = {"type": "RegionCounting"}


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("x = 1", "Own", "has no name 'Own'"),
        ("x = 1", "x", "has no method `classify`"),
        ("raise OSError('gone')", "x", "broken.py:1: OSError: gone"),
        ("def f(: pass", "f", "broken.py:1: SyntaxError"),
        ("import sys; sys.exit(4)", "f", "it exits with 4"),
        ("import os; os._exit(5)", "f", "its process ended with 5"),
        ("class A:\n    def classify(self, b): pass", "A", "A.card: a `Card`"),
        (
            f"{API}Card('a', 'mask', (Class('x'),), mpp=1, post={{'min_area': 3}})\n{CLASSIFY}",
            "A",
            "card.post.min_area: there is no such key; there are:",
        ),
        (
            f"{API}Card('a', 'tiles', (Class('x'),))\n{CLASSIFY}",
            "A",
            "A.card.mpp: a TileModel needs it",
        ),
        (
            f"{API}Card('a', 'tiles', (Class('x'),), mpp=1, report={COUNTING})\n{CLASSIFY}",
            "A",
            "card: report.type: RegionCounting goes with objects; the output is tiles",
        ),
        (
            f"{API}Card('a', 'embeddings', (Class('x'),), mpp=1)\n{CLASSIFY}",
            "A",
            "A.card.classes: embeddings have none",
        ),
        (
            f"{API}Card('a', 'embeddings')\n    def __call__(self, path, context): pass",
            "A",
            "A.card.output: only a TileModel answers embeddings",
        ),
    ],
)
def test_a_wrong_entry_says_why(tmp_path: Path, text: str, name: str, reason: str) -> None:
    """The reason names the setting `entry` and what is wrong; nothing of it runs here."""
    file = code(tmp_path, text, "broken.py")
    with pytest.raises(ConfigError) as caught:
        registry.card("own", entry(file, name))
    assert str(caught.value).startswith("worker.algorithms.own: entry: ")
    assert reason in str(caught.value)
