"""The zip that DynamicServices-style loaders import: for every scan its algorithm, its objects and a mask, all flat.

Formats: SBU-BMI/pathomics_analysis writes them, SBU-BMI/pathomics_featuredb (`ProcessQuipCSVFile.java`) reads them. It
knows no address. Coordinates are level-0 pixels, x right, y down; the importer divides them by the slide's size.
"""

import csv
import hashlib
import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO

import cv2
import numpy as np

from broker.errors import OrderError
from worker.results.json_text import numbers_json, strict_json
from worker.results.objects import CHUNK
from worker.results.polygons import Ring, rings
from worker.results.result import Findings, Result

MASK_MAX_PX = 16 * 2**20
"""A mask is as large as its area, so a whole slide gets none, or a smaller one where nothing else is said of it."""
COLUMNS = ("AreaInPixels", "CentroidX", "CentroidY", "ClassNumber", "Score", "Polygon")
"""Area first and polygon last, as the importer finds them; it keeps columns of numbers only."""
ZIP64_FROM = 10**6
"""Objects that may make a member of more than 2 GiB; only then, since not every importer knows zip64."""
SUBPIXEL_BITS = 4
FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def write(results: Sequence[Result], case_id: str, file: BinaryIO) -> None:
    """The zip; the same results give the same bytes.

    A scan without objects gives its mask alone, as the original does. Raises `OrderError("mpp_missing")`: the
    importer cannot do without a pixel size.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for result in results:
            _write_scan(archive, result, case_id)


def _write_scan(archive: zipfile.ZipFile, result: Result, case_id: str) -> None:
    prefix, area = _prefix(result, case_id), result.findings.area
    has_rows = next(rings(result.findings), None) is not None
    if has_rows:
        about = _about(result, case_id, prefix)
        _put(archive, f"{prefix}-algmeta.json", [strict_json(about) + b"\n"])
        _put(archive, f"{prefix}-algmeta.csv", _csv([list(about), list(about.values())]))
        rows = chain([COLUMNS], map(_row, rings(result.findings)))
        _put(
            archive,
            f"{prefix}-features.csv",
            _csv(rows),
            large=len(result.findings.objects) > ZIP64_FROM,
        )
    if not has_rows or area.width * area.height <= MASK_MAX_PX:
        _put(archive, f"{prefix}-seg.png", [_mask(result.findings)])


def _put(
    archive: zipfile.ZipFile, name: str, content: Iterable[bytes], *, large: bool = False
) -> None:
    info = zipfile.ZipInfo(name, FIXED_TIME)
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=large) as member:
        for piece in content:
            member.write(piece)


def _prefix(result: Result, case_id: str) -> str:
    """SUBJECT.CASE.RANDOM_mpp_M_xX_yY; the subject is the case, and what was random follows from order and scan."""
    token = hashlib.sha256(f"{result.order_id}/{result.scan_id}".encode()).hexdigest()[:10]
    area, mpp = result.findings.area, result.findings.frame.mpp_x
    if mpp is None:
        hint = "give `mpp` with the scan, or another destination"
        raise OrderError(
            "mpp_missing", f"scan {result.scan_id}: the loader needs microns per pixel", hint=hint
        )
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


def _row(ring: Ring) -> list[str]:
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


def _csv(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """The rows as a file's bytes, some at a time."""
    waiting = iter(rows)
    while some := list(islice(waiting, CHUNK)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(some)
        yield text.getvalue().encode()


def _mask(findings: Findings) -> bytes:
    """The area as a PNG, 255 in objects and 0 outside: at level 0, or divided by a whole number to `MASK_MAX_PX`."""
    area = findings.area
    divisor = math.ceil(math.sqrt(area.width * area.height / MASK_MAX_PX))
    canvas = np.zeros((math.ceil(area.height / divisor), math.ceil(area.width / divisor)), np.uint8)
    for ring in rings(findings):
        points = ((ring.points - (area.x, area.y)) / divisor - 0.5) * 2**SUBPIXEL_BITS
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 255, cv2.LINE_8, SUBPIXEL_BITS)
    return bytes(cv2.imencode(".png", canvas)[1])
