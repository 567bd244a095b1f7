"""The QuPath dialect of GeoJSON, and the rings that all dialects share."""

import io
import json
import tracemalloc
import uuid
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.results import AREA, FRAME, WARNINGS, a_card, a_result, around, nuclei, objects
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Floats, Frame
from worker.results.files import geojson
from worker.results.objects import Objects
from worker.results.polygons import Ring, rings
from worker.results.result import Result


def written(result: Result) -> dict[str, Any]:
    file = io.BytesIO()
    geojson.write(result, file)
    return dict(json.loads(file.getvalue().decode("ascii"), parse_constant=pytest.fail))


def drawn(found: Objects) -> list[Ring]:
    return list(rings(a_result(found).findings))


def shoelace(points: list[list[float]]) -> float:
    x, y = np.array(points).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_every_feature_is_what_qupath_reads() -> None:
    """A UUID, a detection inside `properties`, a class with name and three integers of colour, a
    number as score."""
    document = written(a_result())
    assert document["type"] == "FeatureCollection"
    assert len(document["features"]) == 9
    for feature in document["features"]:
        assert str(uuid.UUID(feature["id"])) == feature["id"]
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        assert properties["classification"] in (
            {"name": "negative", "color": [31, 111, 214]},
            {"name": "positive", "color": [200, 50, 30]},
        )
        assert 0 <= properties["measurements"]["score"] <= 1
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) == 13


def test_the_file_states_its_frame() -> None:
    """Coordinates stay level-0 pixels of the full canvas; the bounds that QuPath crops to are given
    beside them."""
    document = written(a_result(objects([around(1100.04, 700.06, 20)])))
    assert document["frame"] == FRAME.as_dict()
    ring = np.array(document["features"][0]["geometry"]["coordinates"][0])
    assert ring.max(axis=0).tolist() == [1120.0, 720.1]


def test_the_same_result_is_the_same_file() -> None:
    """Ids follow from order, scan and number, so that a file written again replaces the first one
    exactly."""
    first = written(a_result())
    again = written(a_result())
    other = written(a_result(scan_id="2"))
    assert first == again
    ids = {feature["id"] for document in (first, other) for feature in document["features"]}
    assert len(ids) == 18


def test_an_outline_without_area_is_left_out_and_counted() -> None:
    """A point, a line and a there-and-back are no rings; the others keep their ids."""
    line = np.array([[1100.0, 600.0], [1110.0, 610.0], [1120.0, 620.0]])
    back = np.array([[1100.0, 600.0], [1110.0, 600.0], [1110.0, 600.04], [1100.0, 600.01]])
    good = around(1200, 700)
    result = a_result(objects([np.full((5, 2), 1100.02), line, good, back], [0, 0, 1, 0]))
    document = written(result)
    assert document["left_out"] == 3
    (feature,) = document["features"]
    everything = written(a_result(objects([good, good, good, good], [0, 0, 1, 0])))
    assert feature["id"] == everything["features"][2]["id"]
    assert feature["properties"]["classification"]["name"] == "positive"


def test_a_report_gives_annotations_that_people_may_edit() -> None:
    """The few shapes of a report are no detections."""
    document = written(a_result(card=a_card("report")))
    assert {feature["properties"]["objectType"] for feature in document["features"]} == {
        "annotation"
    }


def test_the_classes_of_ki67_are_those_that_qupath_counts() -> None:
    """QuPath counts detections of the classes `Positive` and `Negative`; other files keep the names
    of the card."""
    result = a_result(card=ki67_card())
    features = written(result)["features"]
    classes = [feature["properties"]["classification"]["name"] for feature in features]
    assert classes == ["Negative", "Positive"] * 4 + ["Negative"]
    assert result.counts() == {"negative": 5, "positive": 4}


def test_density_and_area_are_measurements() -> None:
    """The DAB density is the algorithm's, the area that of the outline in square microns."""
    square = np.array([(1100.0, 600.0), (1120, 600), (1120, 640), (1100, 640)])
    (feature,) = written(a_result(objects([square])))["features"]
    assert feature["properties"]["measurements"] == {
        "score": 0.5,
        "dab_od_mean": 0.05,
        "area_um2": 20 * 40 * 0.25 * 0.26,
    }


def test_there_is_no_area_without_a_pixel_size() -> None:
    """Pixels are not passed off as microns."""
    result = a_result(frame=Frame(4000, 3000, None, None, "none"))
    assert all(
        "area_um2" not in feature["properties"]["measurements"]
        for feature in written(result)["features"]
    )


def test_a_warning_stands_in_the_file() -> None:
    """Whoever opens the findings reads why to doubt them."""
    expected = [{"code": "stain_unexpected", "detail": "it looks like H&E"}]
    assert written(a_result(warnings=WARNINGS))["warnings"] == expected


def test_ids_are_those_of_the_standard_library() -> None:
    """They are made faster than by `uuid.uuid5`, with the same bits."""
    result = a_result()
    scan = uuid.uuid5(uuid.NAMESPACE_OID, "ord-1/8946136")
    ids = geojson.ObjectIds(result)
    for number in range(2000):
        assert ids.of(number) == str(uuid.uuid5(scan, str(number)))


def region_of(result: Result, polygons: list[list[Floats]]) -> dict[str, Any]:
    document = json.loads(geojson.region(result, polygons))
    (feature,) = document["features"]
    return dict(feature)


def test_the_region_is_an_annotation_of_its_own() -> None:
    """It is locked, has the figures of the summary, and a UUID that no object has."""
    result = a_result()
    box = np.array([(0.0, 0.0), (0, 40), (60.04, 40), (60.04, 0), (0, 0)])
    feature = region_of(result, [[box]])
    assert feature["geometry"] == {"type": "Polygon", "coordinates": [box.round(1).tolist()]}
    properties = feature["properties"]
    assert (properties["objectType"], properties["isLocked"]) == ("annotation", True)
    assert properties["measurements"] == {"nuclei": 9, "labelling_index_pct": 400 / 9}
    ids = {other["id"] for other in written(result)["features"]}
    assert str(uuid.UUID(feature["id"])) == feature["id"]
    assert feature["id"] not in ids


def test_a_region_of_several_parts_with_holes_is_a_multipolygon() -> None:
    """Each part is a list of rings, its holes behind its border."""
    square = np.array([(0.0, 0.0), (0, 9), (9, 9), (9, 0), (0, 0)])
    parts = [[square, square / 3 + 2], [square + 20]]
    geometry = region_of(a_result(), parts)["geometry"]
    assert geometry["type"] == "MultiPolygon"
    assert [len(part) for part in geometry["coordinates"]] == [2, 1]
    assert shapely.geometry.shape(geometry).area == pytest.approx(81 - 9 + 81, rel=0.05)


def test_nothing_found_is_an_empty_collection() -> None:
    """The file is valid without any feature."""
    assert written(a_result(nuclei(0)))["features"] == []


def test_a_score_that_is_no_number_surfaces() -> None:
    """NaN is no JSON: it is not smuggled into a file."""
    found = nuclei(2)
    broken = Objects(found.centres, found.outlines, found.classes, np.array([0.5, np.nan]))
    with pytest.raises(ValueError, match="not finite"):
        written(a_result(broken))


class Sink(io.RawIOBase):
    """Takes bytes and forgets them."""

    def write(self, data: Any) -> int:
        return len(data)


def test_memory_does_not_grow_with_the_number_of_objects() -> None:
    """Twice the objects, both more than are converted at a time, are written in about the same
    memory."""
    outline = around(1200, 700, points=16)
    peaks = []
    for count in (10_000, 5_000):
        found = Objects(
            np.zeros((count, 2)), (outline,) * count, np.zeros(count, np.int64), np.ones(count)
        )
        result = a_result(found)
        tracemalloc.start()
        geojson.write(result, Sink())  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 1.2 * peaks[1]


POINT = st.tuples(st.floats(-50, FRAME.width + 50), st.floats(-50, FRAME.height + 50))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(POINT, min_size=3, max_size=12), min_size=1, max_size=6))
def test_a_ring_is_closed_on_the_canvas_and_turns_one_way(
    outlines: list[list[tuple[float, float]]],
) -> None:
    """Whatever the outline: tenths of a pixel, no point twice in a row, area above zero, order
    kept."""
    found: list[Floats] = [np.array(outline) for outline in outlines]
    made = drawn(objects(found))
    assert [ring.number for ring in made] == sorted({ring.number for ring in made})
    for ring in made:
        points = ring.points
        assert tuple(points[0]) == tuple(points[-1])
        assert points.flags.c_contiguous
        assert (np.diff(points, axis=0) != 0).any(axis=1).all()
        assert (points >= 0).all()
        assert (points <= (FRAME.width, FRAME.height)).all()
        assert ring.area_px2 > 0
        assert np.isclose(ring.area_px2, shoelace(ring.points), atol=1e-3)
        assert np.array_equal(np.round(points, 1), points)
        left, top, right, bottom = ring.bbox
        assert (left, top) == tuple(points.min(axis=0))
        assert (right, bottom) == tuple(points.max(axis=0))


def test_a_ring_keeps_the_outlines_points_in_either_direction() -> None:
    """Turning an outline round changes its starting point at most, and rounding moves no point by
    more than 0.05."""
    outline = around(AREA.x + 100.033, AREA.y + 50.077)
    clockwise, turned = drawn(objects([outline, outline[::-1]]))
    assert {tuple(p) for p in clockwise.points} == {tuple(p) for p in turned.points}
    assert shoelace(clockwise.points) > 0
    assert shoelace(turned.points) > 0
    assert np.abs(clockwise.points[:-1] - outline).max() <= 0.05 + 1e-9


def test_more_objects_than_are_converted_at_a_time_keep_their_numbers() -> None:
    """The numbers run on across chunks."""
    outline = around(1200, 700, points=3)
    found = Objects(np.zeros((5000, 2)), (outline,) * 5000, np.zeros(5000, np.int64), np.ones(5000))
    assert [ring.number for ring in drawn(found)] == list(range(5000))
