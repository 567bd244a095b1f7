"""Measures how millions of nuclei are written as GeoJSON.

Ours writes feature by feature from the object store; the yardsticks dump a list of dicts at once.
`python -m benchmarks.geojson_export METHOD COUNT` is one run, in a process of its own so that its
memory can be measured. The yardsticks hold every polygon in memory. Where that would not fit, they
get fewer polygons, and their time is scaled by the count.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import peak_memory
from benchmarks.comparison import Comparison
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Area, Frame
from worker.results.files import geojson
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects, outlines
from worker.results.result import Findings, Result

EDGE_PX = 100_000
FRAME = Frame(EDGE_PX, EDGE_PX, 0.5, 0.5, "slide")
MAX_IN_MEMORY = 1_000_000
"""Polygons that a yardstick gets at most; each takes about 5 kB as dicts and lists."""
WITHIN_S = 7200


def measure(counts: Sequence[int], report: Callable[[str], None]) -> list[Comparison]:
    """Return seconds and peak memory for each number of polygons."""
    rows = []
    for count in counts:
        results = {}
        for method in METHODS:
            report(f"{count:,} polygons as GeoJSON, {method}")
            given = count
            if method != "ours":
                given = min(count, MAX_IN_MEMORY)
            command = [sys.executable, "-m", "benchmarks.geojson_export", method, str(given)]
            results[method] = peak_memory.run(command, {}, WITHIN_S) | {"share": given / count}
        rows += _rows(f"{count:,} polygons as GeoJSON", results)
    return rows


def _rows(what: str, results: Mapping[str, Mapping[str, Any]]) -> list[Comparison]:
    rows = []
    ours = results["ours"]
    for method in ("json", "orjson"):
        theirs = results[method]
        part = ""
        scaled = ""
        if theirs["share"] != 1:
            part = f", a {1 / theirs['share']:.0f}th of them"
            scaled = f"{part}, time scaled"
        seconds = theirs["seconds"] / theirs["share"]
        against = f"{method}, a list of dicts{scaled}"
        rows.append(Comparison(what, "s", ours["seconds"], against, seconds))
        rows.append(
            Comparison(
                f"{what}, peak memory",
                "MB",
                ours["peak_rss_bytes"] / 1e6,
                f"{method}, a list of dicts{part}",
                theirs["peak_rss_bytes"] / 1e6,
            )
        )
    return rows


def nuclei(count: int) -> Iterator[Objects]:
    """Yield outlines of 12 to 31 points in chunks, the same for every method."""
    rng = np.random.default_rng(0)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        lengths = rng.integers(12, 32, size)
        centres = rng.uniform(40, EDGE_PX - 40, (size, 2))
        owner = np.repeat(np.arange(size), lengths)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        angle = 2 * np.pi * step / lengths[owner]
        radius = rng.uniform(8, 22, size)[owner] * rng.uniform(0.9, 1.1, len(owner))
        points = centres[owner] + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        yield Objects(
            centres,
            tuple(outlines(points, lengths.tolist())),
            rng.integers(0, 2, size),
            rng.random(size),
        )


def _ours(count: int, folder: Path) -> float:
    """Do what the pipeline does: append tile by tile to the object store, then write the file."""
    store = ObjectStore.begin(folder / "objects")
    took_s = 0.0
    for objects in nuclei(count):
        began = perf_counter()
        store.append(objects)
        took_s += perf_counter() - began
    began = perf_counter()
    findings = Findings(FRAME, Area(0, 0, EDGE_PX, EDGE_PX), store, {}, "")
    with (folder / "features.geojson").open("wb") as file:
        geojson.write(Result("order", "scan", ki67_card(), {}, findings, {}), file)
    return took_s + perf_counter() - began


def _features(count: int) -> tuple[dict[str, Any], float]:
    """Return the same polygons as a dict for a JSON library, and the seconds that took."""
    names = [entry.name for entry in ki67_card().classes]
    features = []
    took_s = 0.0
    for objects in nuclei(count):
        began = perf_counter()
        for outline, kind, score in zip(
            objects.outlines, objects.classes, objects.scores, strict=True
        ):
            ring = outline.round(1).tolist()
            properties = {
                "objectType": "detection",
                "classification": {"name": names[kind]},
                "score": round(float(score), 4),
            }
            geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
            features.append({"type": "Feature", "geometry": geometry, "properties": properties})
        took_s += perf_counter() - began
    return {"type": "FeatureCollection", "features": features}, took_s


def _json(count: int, folder: Path) -> float:
    collection, took_s = _features(count)
    began = perf_counter()
    with (folder / "features.geojson").open("w") as file:
        json.dump(collection, file)
    return took_s + perf_counter() - began


def _orjson(count: int, folder: Path) -> float:
    import orjson

    collection, took_s = _features(count)
    began = perf_counter()
    (folder / "features.geojson").write_bytes(orjson.dumps(collection))
    return took_s + perf_counter() - began


METHODS: Mapping[str, Callable[[int, Path], float]] = {
    "ours": _ours,
    "json": _json,
    "orjson": _orjson,
}


def main() -> None:
    """Do one run and print its seconds."""
    method = sys.argv[1]
    count = int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder:
        print(json.dumps({"seconds": METHODS[method](count, Path(folder))}))


if __name__ == "__main__":
    main()
