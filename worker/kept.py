"""Results on disk: a folder per scan, there as a whole or not at all. It knows no order's state and no destination."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from broker.card import Card
from worker.encode import geojson, results
from worker.result import Result
from worker.values import Area, Findings, Frame, Objects

FINDINGS = "findings.npz"


def keep(folder: Path, result: Result, overlay: bytes) -> None:
    """Write findings.npz, results.json, features.geojson and overlay.png into `folder`; replaces what was there.

    The files are made beside it and appear with one rename. A worker that is killed leaves at most a hidden folder
    that nobody reads.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as beside:
        new = Path(beside) / "new"
        new.mkdir()
        _write(new, result, overlay)
        if folder.exists():
            folder.rename(Path(beside) / "old")
        new.rename(folder)
    _sync(folder.parent)


def load(folder: Path) -> Result:
    """The result that was kept in `folder`, floats exact."""
    with np.load(folder / FINDINGS, allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        return _result(about, _objects(arrays))


def _write(folder: Path, result: Result, overlay: bytes) -> None:
    (folder / "overlay.png").write_bytes(overlay)
    (folder / "results.json").write_bytes(results.encode(result))
    with (folder / "features.geojson").open("wb") as file:
        geojson.write(result, file)
    with (folder / FINDINGS).open("wb") as file:
        np.savez(file, **_arrays(result))
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _arrays(result: Result) -> dict[str, Any]:
    """The objects as plain arrays: outlines one after the other, outline i from offsets[i] to offsets[i + 1]."""
    objects = result.findings.objects
    return {
        # Unsorted, unlike a file for others: a report lists the summary in the algorithm's own order.
        "about": np.frombuffer(json.dumps(_about(result), allow_nan=False).encode(), np.uint8),
        "centres": objects.centres,
        "outlines": np.concatenate([np.empty((0, 2)), *objects.outlines]),
        "offsets": np.cumsum([0, *(len(outline) for outline in objects.outlines)]),
        "classes": objects.classes,
        "scores": objects.scores,
    }


def _about(result: Result) -> dict[str, Any]:
    findings = result.findings
    return {
        "order_id": result.order_id,
        "scan_id": result.scan_id,
        "card": result.card.model_dump(mode="json"),
        "parameters": result.parameters,
        "frame": asdict(findings.frame),
        "area": asdict(findings.area),
        "summary": findings.summary,
        "headline": findings.headline,
        "provenance": result.provenance,
    }


def _objects(arrays: Mapping[str, Any]) -> Objects:
    points, offsets = arrays["outlines"], arrays["offsets"].tolist()
    outlines = tuple(points[start:end] for start, end in pairwise(offsets))
    return Objects(arrays["centres"], outlines, arrays["classes"], arrays["scores"])


def _result(about: dict[str, Any], objects: Objects) -> Result:
    frame, area = Frame(**about["frame"]), Area(**about["area"])
    findings = Findings(frame, area, objects, about["summary"], about["headline"])
    card = Card.model_validate(about["card"])
    return Result(about["order_id"], about["scan_id"], card, about["parameters"], findings, about["provenance"])


def _sync(path: Path) -> None:
    """A rename may reach the disk before what was written; a power cut must not leave an empty result."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
