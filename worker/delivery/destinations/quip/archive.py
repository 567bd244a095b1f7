"""The zip that DynamicServices-style loaders import: algorithm, objects and mask of every scan.

Formats: SBU-BMI/pathomics_analysis writes them, SBU-BMI/pathomics_featuredb
(`ProcessQuipCSVFile.java`) reads them. All members lie in one flat folder. Coordinates are level-0
pixels, x right, y down; the importer divides them by the slide's size.
"""

import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from typing import Any, BinaryIO

import cv2
import numpy as np

from broker.errors import OrderError
from worker.geometry.roi import polygon_rings
from worker.results.json_text import numbers_json, strict_json
from worker.results.objects import CHUNK, Objects
from worker.results.polygons import Ring, rings, simple_rings
from worker.results.result import FailedScan, Findings, Result

MASK_MAX_PX = 16 * 2**20
"""The largest mask. A larger area gets no mask if it has objects, else one of reduced size."""
COLUMNS = ("AreaInPixels", "CentroidX", "CentroidY", "ClassNumber", "Score", "Polygon")
"""The importer expects area first and polygon last, and keeps columns of numbers only."""
ZIP64_MIN_OBJECTS = 10**6
"""So many objects may make a member of more than 2 GiB.

With fewer, zip64 is avoided: not every importer reads it.
"""
SUBPIXEL_BITS = 4
FIXED_TIME = (1980, 1, 1, 0, 0, 0)
UNUSED_SETTINGS = (
    "otsu_ratio",
    "curvature_weight",
    "min_size",
    "max_size",
    "ms_kernel",
    "declump_type",
    "levelset_num_iters",
    "output_level",
)
"""Settings of the original's segmentation that we do not have; written as 0."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the loader calls the slide and the run; `analysis_id` empty: made of the result."""

    case_id: str
    subject_id: str
    analysis_id: str = ""

    def analysis_of(self, result: Result) -> str:
        """Return the layer's name in the viewer."""
        return self.analysis_id or analysis_id(result)


def write(
    results: Sequence[Result], names: Names, file: BinaryIO, failed: Sequence[FailedScan] = ()
) -> None:
    """Write the zip; the same results give the same bytes.

    A scan without objects gives its mask alone, as the original does. One whose objects have no
    class, such as tiles with embeddings, gives the outline of its area and in the metadata its
    summary. Scans of `failed` have no result; a member that importers pass over names them. Raise
    `OrderError("mpp_missing")` if the pixel size is unknown: the importer requires it.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for result in results:
            _write_scan(archive, result, names)
        if failed:
            named = [asdict(scan) for scan in failed]
            _write_member(archive, "failed_scans.json", [strict_json(named, indent=2) + b"\n"])


def _write_scan(archive: zipfile.ZipFile, result: Result, names: Names) -> None:
    prefix = _prefix(result, names)
    area = result.findings.area
    findings = result.findings
    metadata = _metadata(result, names, prefix)
    if not result.card.object_classes:
        # tiles with vectors are nothing that the viewer shows, and the importer takes no metadata
        # without an object
        findings = _area_alone(findings)
        metadata["summary"] = strict_json(findings.summary).decode()
    has_objects = next(rings(findings), None) is not None
    if has_objects:
        _write_member(archive, f"{prefix}-algmeta.json", [strict_json(metadata) + b"\n"])
        _write_member(archive, f"{prefix}-algmeta.csv", _csv([list(metadata), metadata.values()]))
        rows = chain([COLUMNS], map(_row, simple_rings(findings)))
        is_large = len(findings.objects) > ZIP64_MIN_OBJECTS
        _write_member(archive, f"{prefix}-features.csv", _csv(rows), zip64=is_large)
    if not has_objects or area.width * area.height <= MASK_MAX_PX:
        _write_member(archive, f"{prefix}-seg.png", [mask(findings)])


def _area_alone(findings: Findings) -> Findings:
    """Return findings whose objects are the outlines of the area, of class 0."""
    outlines = tuple(rings_of_one[0][:-1] for rings_of_one in polygon_rings(findings.area))
    centres = np.array([outline.mean(axis=0) for outline in outlines])
    classes = np.zeros(len(outlines), np.int64)
    objects = Objects(centres, outlines, classes, np.ones(len(outlines)))
    return replace(findings, objects=objects)


def _write_member(
    archive: zipfile.ZipFile, name: str, content: Iterable[bytes], *, zip64: bool = False
) -> None:
    info = zipfile.ZipInfo(name, FIXED_TIME)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=zip64) as member:
        for piece in content:
            member.write(piece)


def _prefix(result: Result, names: Names) -> str:
    """Return SUBJECT.CASE.TOKEN_mpp_M_xX_yY, the start of a member's name.

    The token is random in the original; here it follows from order and
    scan, so that the same results give the same names.
    """
    token = hashlib.sha256(f"{result.order_id}/{result.scan_id}".encode()).hexdigest()[:10]
    area = result.findings.area
    mpp = result.findings.frame.mpp_x
    if mpp is None:
        raise OrderError(
            "mpp_missing",
            f"scan {result.scan_id}: the loader needs microns per pixel",
            hint="give `mpp` with the scan, or another destination",
        )
    return f"{names.subject_id}.{names.case_id}.{token}_mpp_{mpp:g}_x{area.x}_y{area.y}"


def analysis_id(result: Result) -> str:
    """Return the layer's name in the viewer.

    Results of the same algorithm, version and parameters form one layer.
    """
    parameters = hashlib.sha256(strict_json(result.parameters)).hexdigest()[:8]
    return f"{result.card.name}:{result.card.version}:{parameters}"


def _metadata(result: Result, names: Names, prefix: str) -> dict[str, Any]:
    """Return the fields that the importer reads, then those that the original adds."""
    frame = result.findings.frame
    area = result.findings.area
    input_type = "img"
    if (area.width, area.height) == (frame.width, frame.height):
        input_type = "wsi"
    metadata = {
        "case_id": names.case_id,
        "subject_id": names.subject_id,
        "analysis_id": names.analysis_of(result),
        "analysis_desc": f"{result.card.title} {result.card.version}",
        "out_file_prefix": prefix,
        "input_type": input_type,
        "mpp": frame.mpp_x,
        "image_width": frame.width,
        "image_height": frame.height,
    }
    for part in ("tile", "patch"):
        metadata[f"{part}_minx"] = area.x
        metadata[f"{part}_miny"] = area.y
        metadata[f"{part}_width"] = area.width
        metadata[f"{part}_height"] = area.height
    metadata |= dict.fromkeys(UNUSED_SETTINGS, 0)
    metadata["class_names"] = ";".join(entry.name for entry in result.card.classes)
    return metadata


def _row(ring: Ring) -> list[str]:
    """Return one object's row, in the order of `COLUMNS`.

    The polygon is closed: the importer overwrites the last point of a large one with the first.
    """
    x, y = ring.centre
    points = numbers_json(ring.points)[2:-2].replace("],[", ":").replace(",", ":")
    return [
        f"{ring.area_px2:.2f}",
        f"{x:.1f}",
        f"{y:.1f}",
        str(ring.kind),
        f"{ring.score:.4f}",
        f"[{points}]",
    ]


def _csv(rows: Iterable[Iterable[Any]]) -> Iterator[bytes]:
    """Yield the rows as CSV, `CHUNK` rows at a time."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, CHUNK)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(chunk)
        yield text.getvalue().encode()


def mask(findings: Findings) -> bytes:
    """Return the area as a PNG, 255 in objects and 0 outside.

    The mask has level-0 resolution, divided by a whole number where it would exceed `MASK_MAX_PX`.
    """
    area = findings.area
    divisor = math.ceil(math.sqrt(area.width * area.height / MASK_MAX_PX))
    height_px = math.ceil(area.height / divisor)
    width_px = math.ceil(area.width / divisor)
    canvas = np.zeros((height_px, width_px), np.uint8)
    for ring in simple_rings(findings):
        points = ((ring.points - (area.x, area.y)) / divisor - 0.5) * 2**SUBPIXEL_BITS
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 255, cv2.LINE_8, SUBPIXEL_BITS)
    return bytes(cv2.imencode(".png", canvas)[1])
