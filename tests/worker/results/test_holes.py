"""Holes stay holes in every file and every payload."""

import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.masks import MaskCase, mask_card, mask_result
from worker.delivery.destinations.quip import archive
from worker.delivery.destinations.quip.archive import Names
from worker.delivery.destinations.techcyte import payload
from worker.geometry.polygons import cut_through_holes
from worker.results.files import object_files
from worker.results.polygons import rings, simple_rings
from worker.results.result import Result


def ringed(folder: Path) -> tuple[MaskCase, Result]:
    """A frame of gland around a block of tumour that has a hole, and a gland apart."""
    pixels = np.zeros((40, 60), np.int64)
    pixels[4:36, 4:44] = 1
    pixels[8:32, 8:40] = 0
    pixels[12:28, 12:30] = 2
    pixels[16:20, 14:18] = 0
    pixels[22:25, 20:26] = 0
    pixels[10:20, 50:56] = 1
    case = MaskCase(pixels, mask_card(tile_px=16), mpp=0.5)
    return case, mask_result(case, case.merged(folder))


def test_features_and_table_have_holes(tmp_path: Path) -> None:
    """Outlines turn one way and holes the other; sizes are without holes."""
    case, result = ringed(tmp_path)
    object_files.write(tmp_path, result)
    features = json.loads((tmp_path / "features.geojson").read_bytes())["features"]
    with (tmp_path / "objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    pixels_by_class = {"gland": (case.pixels == 1).sum(), "tumor": (case.pixels == 2).sum()}
    found = dict.fromkeys(pixels_by_class, 0.0)
    for feature, row in zip(features, rows, strict=True):
        outline, *holes = feature["geometry"]["coordinates"]
        polygon = shapely.Polygon(outline, holes)
        assert polygon.is_valid
        assert feature["properties"]["objectType"] == "annotation"
        assert shapely.LinearRing(outline).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        name = feature["properties"]["classification"]["name"]
        area_um2 = feature["properties"]["measurements"]["area_um2"]
        assert area_um2 == float(row["area_um2"]) == polygon.area * 0.25
        assert row["class"] == name
        assert list(row) == [
            "id", "class", "x", "y", "score", "area_um2", "minx", "miny", "width", "height",
        ]  # fmt: skip
        assert shapely.contains_xy(polygon, float(row["x"]), float(row["y"]))
        found[name] += area_um2
    assert found == pixels_by_class
    assert sorted(len(feature["geometry"]["coordinates"]) for feature in features) == [1, 2, 3]


def test_techcyte_and_quip_get_simple_rings_of_the_same_size(tmp_path: Path) -> None:
    """They take one ring each: objects with holes are cut through them."""
    case, result = ringed(tmp_path)
    body = io.BytesIO()
    payload.write([result], body)
    features = json.loads(body.getvalue())["scanResults"][0]["geojson"]["features"]
    shapes = []
    for feature in features:
        (ring,) = feature["geometry"]["coordinates"]
        shapes.append((feature["properties"]["annotation_type"], shapely.Polygon(ring)))
    loaded = io.BytesIO()
    archive.write([result], Names("case", "case"), loaded)
    with zipfile.ZipFile(loaded) as members:
        (table,) = [name for name in members.namelist() if name.endswith("features.csv")]
        (mask,) = [name for name in members.namelist() if name.endswith("seg.png")]
        rows = list(csv.DictReader(io.TextIOWrapper(members.open(table))))
        drawn = cv2.imdecode(np.frombuffer(members.read(mask), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert len(rows) == len(shapes) > len(result.findings.objects)
    for name, number in (("gland", 1), ("tumor", 2)):
        whole_px2 = (case.pixels == number).sum() * 4
        union = shapely.union_all([shape for kind, shape in shapes if kind == name])
        assert union.area == sum(shape.area for kind, shape in shapes if kind == name) == whole_px2
        in_table = sum(
            float(row["AreaInPixels"]) for row in rows if row["ClassNumber"] == str(number)
        )
        assert in_table == whole_px2
    # the middle of every hole
    assert not drawn[[20, 36, 47], [20, 32, 45]].any()
    for row in rows:
        numbers = np.array([*map(float, row["Polygon"].strip("[]").split(":"))]).reshape(-1, 2)
        ring = shapely.Polygon(numbers)
        assert ring.is_valid
        assert shapely.contains_xy(ring, float(row["CentroidX"]), float(row["CentroidY"]))


NARROW = np.ones((6, 23), np.int64)
NARROW[3, 19] = NARROW[4, 18:20] = 0
"""The middle of this hole is closer than a tenth of a pixel to one of its edges, at 0.37 µm/px."""


@settings(max_examples=60, deadline=None)
@example(NARROW, 0.37)
@given(
    arrays.arrays(
        np.int64,
        st.tuples(st.integers(3, 24), st.integers(3, 24)),
        elements=st.sampled_from([0, 1, 1, 1, 2]),
    ),
    st.sampled_from([1.0, 0.37]),
)
def test_simple_rings_cover_what_rings_cover(pixels: np.ndarray, mpp: float) -> None:
    """To the tenth of a pixel that files hold, whatever the holes touch."""
    case = MaskCase(pixels, mpp=mpp)
    with tempfile.TemporaryDirectory() as folder:
        findings = mask_result(case, case.merged(Path(folder))).findings
        whole = list(rings(findings))
        simple = list(simple_rings(findings))
    for ring in whole:
        polygon = shapely.Polygon(ring.points, ring.holes)
        assert polygon.area == pytest.approx(ring.area_px2)
        pieces = [shapely.Polygon(one.points) for one in simple if one.number == ring.number]
        assert all(piece.is_valid for piece in pieces)
        assert sum(piece.area for piece in pieces) == pytest.approx(ring.area_px2, rel=1e-9)
        assert shapely.union_all(pieces).symmetric_difference(polygon).area < 1e-6


def test_many_holes_are_cut_in_a_time_that_hardly_grows() -> None:
    """Each cut halves the holes that are left."""
    outline = np.array([(0, 0), (400, 0), (400, 400), (0, 400)], np.float64)
    square = np.array([(0, 0), (0, 3), (3, 3), (3, 0)], np.float64)
    holes = [square + np.array([x, y]) for x in range(5, 390, 10) for y in range(5, 390, 10)]
    pieces = cut_through_holes(outline, holes, 0.1)
    areas = [shapely.Polygon(piece).area for piece in pieces]
    assert sum(areas) == 400 * 400 - 9 * len(holes)
    assert all(len(piece) > 3 for piece in pieces)
