"""The zip that DynamicServices-style loaders import: for every scan its algorithm, its objects and a mask, all flat.

Formats: SBU-BMI/pathomics_analysis writes them, SBU-BMI/pathomics_featuredb (`ProcessQuipCSVFile.java`) reads them. It
knows no address. Coordinates are level-0 pixels, x right, y down; the importer divides them by the slide's size.
"""

import csv
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from broker.errors import OrderError
from worker.encode import strict_json
from worker.encode.rings import Ring, rings
from worker.result import Result
from worker.values import Findings

MASK_MAX_PX = 16 * 2**20
"""A mask is as large as its area, so a whole slide gets none, or a smaller one where nothing else is said of it."""
COLUMNS = ("AreaInPixels", "CentroidX", "CentroidY", "ClassNumber", "Score", "Polygon")
"""Area first and polygon last, as the importer finds them; it keeps columns of numbers only."""
SUBPIXEL_BITS = 4
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def encode(results: Sequence[Result], case_id: str) -> bytes:
    """The zip; the same results give the same bytes.

    A scan without objects gives its mask alone, as the original does. Raises `OrderError("mpp_missing")`: the
    importer cannot do without a pixel size.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for result in results:
            for name, content in _members(result, case_id).items():
                info = zipfile.ZipInfo(name, FIXED_TIME)
                info.external_attr = 0o644 << 16
                archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _members(result: Result, case_id: str) -> dict[str, bytes]:
    prefix = _prefix(result, case_id)
    rows = [_row(result, ring) for ring in rings(result.findings)]
    members: dict[str, bytes] = {}
    if rows:
        about = _about(result, case_id, prefix)
        members[f"{prefix}-algmeta.json"] = strict_json(about) + b"\n"
        members[f"{prefix}-algmeta.csv"] = _csv([list(about), list(about.values())])
        members[f"{prefix}-features.csv"] = _csv([COLUMNS, *rows])
    area = result.findings.area
    if not rows or area.width * area.height <= MASK_MAX_PX:
        members[f"{prefix}-seg.png"] = _mask(result.findings)
    return members


def _prefix(result: Result, case_id: str) -> str:
    """SUBJECT.CASE.RANDOM_mpp_M_xX_yY; the subject is the case, and what was random follows from order and scan."""
    token = hashlib.sha256(f"{result.order_id}/{result.scan_id}".encode()).hexdigest()[:10]
    area, mpp = result.findings.area, result.findings.frame.mpp_x
    if mpp is None:
        hint = "give `mpp` with the scan, or another destination"
        raise OrderError("mpp_missing", f"scan {result.scan_id}: the loader needs microns per pixel", hint=hint)
    return f"{case_id}.{case_id}.{token}_mpp_{mpp:g}_x{area.x}_y{area.y}"


def analysis_id(result: Result) -> str:
    """The layer's name in the viewer: the same algorithm, version and parameters are one layer."""
    parameters = hashlib.sha256(strict_json(result.parameters)).hexdigest()[:8]
    return f"{result.card.name}:{result.card.version}:{parameters}"


def _about(result: Result, case_id: str, prefix: str) -> dict[str, Any]:
    """The fields the importer reads, then the original's; knobs of its segmentation that we do not have are 0."""
    frame, area = result.findings.frame, result.findings.area
    whole = (area.width, area.height) == (frame.width, frame.height)
    box = {"minx": area.x, "miny": area.y, "width": area.width, "height": area.height}
    knobs = "otsu_ratio curvature_weight min_size max_size ms_kernel declump_type levelset_num_iters output_level"
    return {
        "case_id": case_id,
        "subject_id": case_id,
        "analysis_id": analysis_id(result),
        "analysis_desc": f"{result.card.title} {result.card.version}",
        "out_file_prefix": prefix,
        "input_type": "wsi" if whole else "img",
        "mpp": frame.mpp_x,
        "image_width": frame.width,
        "image_height": frame.height,
        **{f"{part}_{side}": value for part in ("tile", "patch") for side, value in box.items()},
        **dict.fromkeys(knobs.split(), 0),
        "class_names": ";".join(entry.name for entry in result.card.classes),
    }


def _row(result: Result, ring: Ring) -> list[str]:
    objects = result.findings.objects
    x, y = objects.centres[ring.number]
    points = json.dumps(ring.points, separators=(":", ":"))[2:-2].replace("]:[", ":")
    number, score = objects.classes[ring.number], objects.scores[ring.number]
    return [f"{ring.area_px2:.2f}", f"{x:.1f}", f"{y:.1f}", str(number), f"{score:.4f}", f"[{points}]"]


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _mask(findings: Findings) -> bytes:
    """The area as a PNG, 255 in objects and 0 outside: at level 0, or divided by a whole number to `MASK_MAX_PX`."""
    area = findings.area
    divisor = math.ceil(math.sqrt(area.width * area.height / MASK_MAX_PX))
    canvas = np.zeros((math.ceil(area.height / divisor), math.ceil(area.width / divisor)), np.uint8)
    for ring in rings(findings):
        points = ((np.asarray(ring.points) - (area.x, area.y)) / divisor - 0.5) * 2**SUBPIXEL_BITS
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 255, cv2.LINE_8, SUBPIXEL_BITS)
    return bytes(cv2.imencode(".png", canvas)[1])
