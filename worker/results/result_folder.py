"""Results on disk: a folder per scan, there as a whole or not at all. It knows no order's state and no destination."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.result_files import ABOUT, FEATURES, FINDINGS, OVERLAY, RESULTS_JSON
from worker.geometry.frame import Area, Frame
from worker.results import geojson, results_json
from worker.results.object_store import ObjectStore
from worker.results.objects import ObjectSource
from worker.results.result import Findings, Result


def keep(folder: Path, result: Result, overlay: Callable[[], bytes]) -> None:
    """Write findings, results.json, features.geojson and overlay.png into `folder`; replaces what was there.

    `overlay` is asked for when everything else is written, for it may still be being drawn.

    The files are made beside it and appear with one rename. A worker that is killed leaves at most a hidden folder
    that nobody reads. Objects on the same disk in a spool are moved, not copied: use the result no more.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(
        prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
    ) as beside:
        new = Path(beside) / "new"
        new.mkdir()
        _write(new, result, overlay)
        if folder.exists():
            folder.rename(Path(beside) / "old")
        new.rename(folder)
    _sync(folder.parent)
    _sync(folder.parent.parent)


def load(folder: Path) -> Result:
    """The result that was kept in `folder`, floats exact, its objects still on the disk."""
    about = json.loads((folder / FINDINGS / ABOUT).read_bytes())
    return _result(about, ObjectStore(folder / FINDINGS))


def _write(folder: Path, result: Result, overlay: Callable[[], bytes]) -> None:
    (folder / RESULTS_JSON).write_bytes(results_json.encode(result))
    with (folder / FEATURES).open("wb") as file:
        geojson.write(result, file)
    (folder / OVERLAY).write_bytes(overlay())
    # Unsorted, unlike a file for others: a report lists the summary in the algorithm's own order.
    about = json.dumps(_about(result), allow_nan=False).encode()
    _move_objects(result.findings.objects, folder / FINDINGS)
    (folder / FINDINGS / ABOUT).write_bytes(about)
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _move_objects(found: ObjectSource, to: Path) -> None:
    if isinstance(found, ObjectStore):
        found.folder.rename(to)
        return
    spool = ObjectStore.begin(to)
    for objects in found.chunks():
        spool.append(objects)


def _about(result: Result) -> dict[str, Any]:
    findings = result.findings
    return {
        "order_id": result.order_id,
        "scan_id": result.scan_id,
        "card": result.card.model_dump(mode="json"),
        "parameters": result.parameters,
        "frame": asdict(findings.frame),
        "area": findings.area.as_dict(),
        "summary": findings.summary,
        "headline": findings.headline,
        "provenance": result.provenance,
    }


def _result(about: dict[str, Any], objects: ObjectSource) -> Result:
    polygon = tuple((x, y) for x, y in about["area"].get("polygon", ()))
    area = Area(**about["area"] | {"polygon": polygon})
    findings = Findings(Frame(**about["frame"]), area, objects, about["summary"], about["headline"])
    card = AlgorithmCard.model_validate(about["card"])
    return Result(
        about["order_id"],
        about["scan_id"],
        card,
        about["parameters"],
        findings,
        about["provenance"],
    )


def _sync(path: Path) -> None:
    """A rename may reach the disk before what was written; a power cut must not leave an empty result."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
