"""Millions of nuclei as GeoJSON: ours, from the spool feature by feature, against a list of dicts dumped at once.

`python -m benchmarks.polygons WAY COUNT` is one run, in a process of its own so that its memory is its own. The
yardsticks hold every polygon in memory: they get fewer where that would not fit, and their time is scaled by the count.
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
from benchmarks.comparison import Row
from worker.algorithms.builtin_cards import ki67_card
from worker.geometry.frame import Area, Frame
from worker.results import geojson
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects, outlines
from worker.results.result import Findings, Result

EDGE_PX = 100_000
FRAME = Frame(EDGE_PX, EDGE_PX, 0.5, 0.5, "slide")
MOST_IN_MEMORY = (
    1_000_000  # polygons that a yardstick is given; each takes some 5 kB as dicts and lists
)
WITHIN_S = 7200


def measure(counts: Sequence[int], say: Callable[[str], None]) -> list[Row]:
    """Seconds and peak memory for each number of polygons."""
    rows = []
    for count in counts:
        found = {}
        for way in WAYS:
            say(f"{count:,} polygons as GeoJSON, {way}")
            given = count if way == "ours" else min(count, MOST_IN_MEMORY)
            command = [sys.executable, "-m", "benchmarks.polygons", way, str(given)]
            found[way] = peak_memory.run(command, {}, WITHIN_S) | {"share": given / count}
        rows += _rows(f"{count:,} polygons as GeoJSON", found)
    return rows


def _rows(what: str, found: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    rows, ours = [], found["ours"]
    for way in ("json", "orjson"):
        theirs = found[way]
        scaled = "" if theirs["share"] == 1 else f", a {1 / theirs['share']:.0f}th of them"
        rows.append(
            Row(
                what,
                "s",
                ours["seconds"],
                f"{way}, a list of dicts{scaled and scaled + ', time scaled'}",
                theirs["seconds"] / theirs["share"],
            )
        )
        rows.append(Row(f"{what}, peak memory", "MB", ours["peak_rss_bytes"] / 1e6, f"{way}, a list of dicts{scaled}",
                        theirs["peak_rss_bytes"] / 1e6))  # fmt: skip
    return rows


def nuclei(count: int) -> Iterator[Objects]:
    """Outlines of 12 to 31 points, some at a time; the same for every way."""
    rng = np.random.default_rng(0)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        lengths = rng.integers(12, 32, size)
        centres = rng.uniform(40, EDGE_PX - 40, (size, 2))
        owner = np.repeat(np.arange(size), lengths)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        angle, reach = (
            2 * np.pi * step / lengths[owner],
            rng.uniform(8, 22, size)[owner] * rng.uniform(0.9, 1.1, len(owner)),
        )
        points = centres[owner] + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        yield Objects(
            centres,
            tuple(outlines(points, lengths.tolist())),
            rng.integers(0, 2, size),
            rng.random(size),
        )


def _ours(count: int, folder: Path) -> float:
    """What the pipeline does: tile by tile into the spool, then from there into the file."""
    spool = ObjectStore.begin(folder / "spool")
    took_s = 0.0
    for objects in nuclei(count):
        began = perf_counter()
        spool.append(objects)
        took_s += perf_counter() - began
    began = perf_counter()
    findings = Findings(FRAME, Area(0, 0, EDGE_PX, EDGE_PX), spool, {}, "")
    with (folder / "features.geojson").open("wb") as file:
        geojson.write(Result("order", "scan", ki67_card(), {}, findings, {}), file)
    return took_s + perf_counter() - began


def _features(count: int) -> tuple[dict[str, Any], float]:
    """The same polygons as people collect them, and the seconds that took."""
    names, features, took_s = [entry.name for entry in ki67_card().classes], [], 0.0
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


WAYS: Mapping[str, Callable[[int, Path], float]] = {"ours": _ours, "json": _json, "orjson": _orjson}


def main() -> None:
    """One run."""
    way, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder:
        print(json.dumps({"seconds": WAYS[way](count, Path(folder))}))


if __name__ == "__main__":
    main()
