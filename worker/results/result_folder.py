"""Results on disk: one folder for each scan, which exists whole or not at all.

Knows no order's state and no destination.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex
from typing import Any

from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.order import ScanWarning
from broker.orders.result_files import (
    ABOUT,
    ATTENTION_CSV,
    EMBEDDINGS_H5,
    FINDINGS,
    OPTIONAL,
    OVERLAY,
    OWN_FILES,
    REGION,
    RESULTS_JSON,
)
from worker.disk import sync_folder, sync_tree
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import polygon_rings
from worker.results.files import attention_csv, embeddings_h5, geojson, object_files, results_json
from worker.results.object_store import ObjectStore
from worker.results.objects import ObjectSource
from worker.results.overlay.drawing import OverlayDrawing
from worker.results.result import Findings, Result
from worker.results.tiles import files as findings_tiles


def save(folder: Path, result: Result, overlay: OverlayDrawing) -> int:
    """Write the findings and every file that can be downloaded into `folder`; return their bytes.

    Replaces what the folder held. The overlay is waited for when everything else is written.

    The files are written beside the folder and appear with one rename. A worker that is killed
    leaves at most a hidden folder that nobody reads. An ObjectStore on the same disk is moved, not
    copied: the result must not be used afterwards.

    Raises ValueError for a result that holds NaN or infinity, OSError where the disk refuses.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = _hidden_beside(folder)
    try:
        new.mkdir()
        size_bytes = _write_files(new, result, overlay)
        if folder.exists():
            old = _hidden_beside(folder)
            folder.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    sync_folder(folder.parent)
    sync_folder(folder.parent.parent)
    return size_bytes


def load(folder: Path) -> Result:
    """Return the result that was saved in `folder`; floats are exact, objects stay on the disk.

    Its embeddings are in a file of their own and not in what is returned.
    """
    about = json.loads((folder / FINDINGS / ABOUT).read_bytes())
    return _from_json(about, ObjectStore(folder / FINDINGS))


def optional_files(folder: Path) -> list[str]:
    """Return the names of the files in a saved result that only some algorithms make.

    Those that code of the site made are `files/NAME`.
    """
    own = [f"{OWN_FILES}/{file.name}" for file in sorted((folder / OWN_FILES).glob("*"))]
    return [name for name in OPTIONAL if (folder / name).is_file()] + own


def _hidden_beside(folder: Path) -> Path:
    """Return an unused path beside the folder that readers do not look at."""
    return folder.with_name(f".{folder.name}-{token_hex(8)}")


def _write_files(folder: Path, result: Result, overlay: OverlayDrawing) -> int:
    """Write the files and sync them; return their bytes."""
    (folder / RESULTS_JSON).write_bytes(results_json.encode(result))
    object_files.write(folder, result)
    _write_embeddings(folder, result)
    store = _stored(result.findings.objects, folder / FINDINGS)
    findings_tiles.write(folder, result, store)
    polygons = polygon_rings(result.findings.area)
    (folder / REGION).write_bytes(geojson.region(result, polygons))
    for name, file in result.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.move(file, folder / name)
    (folder / OVERLAY).write_bytes(overlay.png())
    # Not sorted, unlike the files for others: a report lists the summary in the algorithm's order.
    about = json.dumps(_to_json(result), allow_nan=False).encode()
    _move_objects(store, folder / FINDINGS)
    (folder / FINDINGS / ABOUT).write_bytes(about)
    # A rename may reach the disk before the content: a power cut must not leave an empty result.
    return sync_tree(folder)


def _write_embeddings(folder: Path, result: Result) -> None:
    """Write embeddings.h5 and attention.csv where the result has them."""
    embeddings = result.findings.embeddings
    if embeddings is None:
        return
    embeddings_h5.write(folder / EMBEDDINGS_H5, result, embeddings)
    if result.card.measurements == attention_csv.MEASUREMENTS:
        attention_csv.write(folder / ATTENTION_CSV, result)


def _stored(objects: ObjectSource, folder: Path) -> ObjectStore:
    """Return the store of objects on the disk; write those that are in memory into `folder`."""
    if isinstance(objects, ObjectStore):
        return objects
    store = ObjectStore.begin(folder)
    for chunk in objects.chunks():
        store.append(chunk)
    return store


def _move_objects(store: ObjectStore, folder: Path) -> None:
    """Move a store into `folder`, unless it is there.

    Vectors of the objects are not kept: they are in embeddings.h5.
    """
    if store.folder != folder:
        store.folder.rename(folder)
    ObjectStore(folder).drop_features()


def _to_json(result: Result) -> dict[str, Any]:
    """Return everything but the objects, as fields fit for JSON."""
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
        "produced": result.produced,
        "slide_name": result.slide_name,
        "warnings": [warning.model_dump() for warning in result.warnings],
    }


def _from_json(about: dict[str, Any], objects: ObjectSource) -> Result:
    findings = Findings(
        frame=Frame(**about["frame"]),
        area=Area.from_dict(about["area"]),
        objects=objects,
        summary=about["summary"],
        headline=about["headline"],
    )
    # a result of an older version has none
    warnings = tuple(ScanWarning.model_validate(one) for one in about.get("warnings", ()))
    return Result(
        order_id=about["order_id"],
        scan_id=about["scan_id"],
        card=AlgorithmCard.model_validate(about["card"]),
        parameters=about["parameters"],
        findings=findings,
        provenance=about["provenance"],
        warnings=warnings,
        produced=about.get("produced", {}),
        slide_name=about.get("slide_name", ""),
    )
