"""What is drawn of objects at Techcyte, where it stands, and how large a post may be."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from broker.errors import OrderError
from broker.orders.algorithm_card import ClassCard
from broker.orders.order import ScanWarning
from broker.orders.techcyte_options import Features, FeaturesIn
from demo.techcyte_rules import check_results
from tests.support.results import AREA, a_card, a_result, around, nuclei, objects
from worker.delivery.destinations.techcyte import payload
from worker.delivery.destinations.techcyte.payload import PostOptions
from worker.results.objects import Objects
from worker.results.result import FailedScan, Result

TILE_PX = 100


def posted(*results: Result, failed: Sequence[FailedScan] = (), **options: Any) -> dict[str, Any]:
    """Return the body of a post that the demo's receiver takes."""
    file = io.BytesIO()
    payload.write(results, file, failed, PostOptions(**options))
    return check_results(file.getvalue())


def annotations(result: Result, **options: Any) -> list[dict[str, Any]]:
    (scan,) = posted(result, **options)["scanResults"]
    found: list[dict[str, Any]] = scan["geojson"]["features"]
    return found


def segments(result: Result, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """Return the features of each segment by its name."""
    (scan,) = posted(result, **options)["scanResults"]
    parts = scan["workflow"]["report"]["segments"]
    return {part["name"]: part["feature_collection"]["features"] for part in parts}


def tiles(probabilities: list[float]) -> Objects:
    """Squares in a row from the upper left corner of the area, with these probabilities."""
    lefts = AREA.x + np.arange(len(probabilities)) * TILE_PX
    outlines = tuple(
        np.array([[x, AREA.y], [x + TILE_PX, AREA.y], [x + TILE_PX, AREA.y + TILE_PX],
                  [x, AREA.y + TILE_PX]], float)
        for x in lefts
    )  # fmt: skip
    positive = np.array(probabilities)
    return Objects(
        np.array([outline.mean(axis=0) for outline in outlines]),
        outlines,
        (positive >= 0.5).astype(np.int64),
        np.maximum(positive, 1 - positive),
        np.stack([1 - positive, positive], axis=1),
    )


def tile_result(probabilities: list[float]) -> Result:
    background, positive = a_card("tiles").classes
    classes = (background.model_copy(update={"background": True}), positive)
    card = a_card("tiles").model_copy(update={"classes": classes, "measurements": ()})
    return a_result(tiles(probabilities), card=card)


@pytest.mark.parametrize("place", get_args(FeaturesIn))
@pytest.mark.parametrize("features", get_args(Features))
@pytest.mark.parametrize("count", [0, 1, 9])
def test_every_form_is_taken_by_an_independent_reader(
    features: str, place: str, count: int
) -> None:
    """Of objects, of tiles, and of several scans in one post."""
    other = replace(tile_result([0.1, 0.9]), scan_id="2")
    body = posted(a_result(nuclei(count)), other, features=features, features_in=place)
    assert len(body["scanResults"]) == 2


def test_segments_hold_the_objects_of_their_class() -> None:
    """With the class's name and colour, as Techcyte's own template draws them, and no box."""
    found = segments(a_result(), features_in="segments")
    assert {name: len(features) for name, features in found.items()} == {
        "negative": 5,
        "positive": 4,
    }
    first = found["positive"][0]
    assert first["properties"] == {"name": "positive", "color": "#c8321e"}
    assert first["geometry"]["type"] == "Polygon"
    assert "bbox" not in first
    assert annotations(a_result(), features_in="segments") == []


def test_features_can_stand_in_both_places() -> None:
    """Annotations, and segments."""
    found = segments(a_result(), features_in="both")
    shapes = [one["geometry"] for features in found.values() for one in features]
    both = annotations(a_result(), features_in="both")
    assert len(both) == 9
    assert [one["geometry"] for one in both if one["geometry"] not in shapes] == []


def test_a_report_without_segments_keeps_its_annotations() -> None:
    """They would be nowhere else."""
    card = a_card().model_copy(update={"report": {"type": "WholeSlideDifferential"}})
    assert len(annotations(a_result(card=card), features_in="segments")) == 9


def test_simplified_outlines_have_fewer_points_and_stay_close() -> None:
    """Within one micron, which is four pixels of this slide."""
    result = a_result(objects([around(1100, 600, radius_px=40, points=200)]))
    (whole,) = annotations(result)
    (simple,) = annotations(result, features="simplified")
    ring = np.array(whole["geometry"]["coordinates"][0])
    fewer = np.array(simple["geometry"]["coordinates"][0])
    assert len(fewer) < len(ring) / 4
    distances = np.linalg.norm(fewer - (1100, 600), axis=1)
    assert np.abs(distances - 40).max() < 0.2
    assert np.abs(np.array(simple["bbox"]) - np.array(whole["bbox"])).max() <= 4


def test_simplified_objects_keep_their_holes() -> None:
    """They are cut through them, as whole outlines are."""
    found = objects([around(1100, 600, radius_px=60, points=100)])
    found = replace(found, holes=((around(1100, 600, radius_px=30, points=100),),))
    pieces = annotations(a_result(found), features="simplified")
    assert len(pieces) > 1
    assert not any([1100.0, 600.0] in one["geometry"]["coordinates"][0] for one in pieces)


def test_points_are_the_centres_of_a_class() -> None:
    """One feature for each class, with the box around all of its outlines."""
    result = a_result()
    negative, positive = annotations(result, features="points")
    assert negative["properties"] == {"annotation_type": "nucleus_negative"}
    assert positive["geometry"]["type"] == "MultiPoint"
    (chunk,) = result.findings.objects.chunks()
    centres = chunk.centres[chunk.classes == 1].round(1).tolist()
    assert positive["geometry"]["coordinates"] == centres
    left, top, right, bottom = positive["bbox"]
    assert all(left < x < right and top < y < bottom for x, y in centres)
    assert (
        segments(result, features="points", features_in="segments")["positive"][0]["geometry"]
        == positive["geometry"]
    )


def test_no_features_leaves_the_counts() -> None:
    """The report says everything that is not drawn."""
    (scan,) = posted(a_result(), features="none", features_in="both")["scanResults"]
    assert scan["geojson"]["features"] == []
    report = scan["workflow"]["report"]
    assert [(one["name"], one["result"]) for one in report["segments"]] == [
        ("negative", "5"),
        ("positive", "4"),
    ]
    assert report["segments"][0]["feature_collection"]["features"] == []


def test_a_heat_map_of_tiles_has_a_contour_for_each_level() -> None:
    """One feature for a class that is no background; the higher contours lie on the lower ones."""
    (feature,) = annotations(tile_result([0.1, 0.3, 0.5, 0.9]), features="heat_map")
    assert feature["properties"]["annotation_type"] == "nucleus_positive"
    colors = feature["properties"]["contour_colors"]
    contours = feature["geometry"]["geometries"]
    assert len(colors) == len(contours) == len(set(colors)) == 4
    assert colors[-1] == "#c8321e"
    spans = []
    for contour in contours:
        xs = [x for x, _ in contour["coordinates"][0]]
        spans.append((min(xs) - AREA.x, max(xs) - AREA.x))
    assert spans == [(100, 400), (200, 400), (300, 400), (300, 400)]
    assert feature["bbox"] == [AREA.x + 100, AREA.y, AREA.x + 400, AREA.y + 100]


def test_a_heat_map_of_objects_is_where_they_lie_densest() -> None:
    """Everything lies in the area, also of objects at its edge."""
    corner = [around(1005 + 3 * step, 505) for step in range(40)]
    found = objects([*corner, around(1580, 880)], [1] * 41)
    (feature,) = annotations(a_result(found), features="heat_map")
    left, top, right, bottom = feature["bbox"]
    assert (left, top) == (AREA.x, AREA.y)
    assert right <= AREA.x + AREA.width
    assert bottom <= AREA.y + AREA.height
    hottest = feature["geometry"]["geometries"][-1]["coordinates"][0]
    assert max(x for x, _ in hottest) < 1300


def test_a_heat_map_of_attention_is_of_its_rank() -> None:
    """Of a network for slides, which has no class of tiles."""
    squares = replace(tiles([0.0, 0.0]), measurements=np.array([[3.2, 0.1], [9.9, 1.0]]))
    squares = replace(squares, probabilities=np.empty((0, 0)))
    update = {"measurements": ("attention", "attention_rank")}
    card = a_card("slide").model_copy(update=update)
    (feature,) = annotations(a_result(squares, card=card), features="heat_map")
    assert feature["properties"]["annotation_type"] == "attention"
    assert feature["bbox"][0] == AREA.x + TILE_PX


def test_polygons_of_a_mask_stay_outlines() -> None:
    """Where the middle of a large one is says nothing."""
    result = a_result(card=a_card("mask"))
    assert len(annotations(result, features="heat_map")) == 9


def test_nothing_found_is_no_heat_map() -> None:
    """An empty one would be no feature."""
    assert annotations(a_result(nuclei(0)), features="heat_map") == []
    assert annotations(tile_result([0.0]), features="heat_map") == []


def test_a_post_above_its_bound_is_not_made() -> None:
    """What to do is said; smaller forms of the same results fit, and nothing larger is written."""
    result = a_result(nuclei(3000))
    file = io.BytesIO()
    with pytest.raises(OrderError, match=r"more than the 300,000 bytes") as caught:
        payload.write([result], file, (), PostOptions(max_bytes=300_000))
    assert caught.value.code == "payload_too_large"
    assert "simplified" in caught.value.hint
    assert file.tell() <= 300_000
    assert posted(result, features="points", max_bytes=300_000)


def test_quality_control_is_left_alone_unless_it_is_wanted() -> None:
    """An absent field changes nothing; an empty list would record a pass."""
    blurred = ScanWarning(code="slide_blurred", detail="3 of 4")
    far = ScanWarning(code="mpp_far_from_model", detail="0.5")
    twice = (blurred, far, blurred)

    def reasons(result: Result, wanted: str) -> Any:
        (scan,) = posted(result, qc_fail_reasons=wanted)["scanResults"]
        return scan.get("qcFailReasons", "absent")

    assert reasons(a_result(warnings=twice), "none") == "absent"
    assert reasons(a_result(warnings=twice), "warnings") == ["slide_blurred"]
    assert reasons(a_result(warnings=(far,)), "warnings") == []
    nobody_looked = a_card().model_copy(update={"mpp": None})
    assert reasons(a_result(card=nobody_looked), "warnings") == "absent"
    assert reasons(a_result(card=a_card("report")), "warnings") == "absent"


def test_what_an_algorithm_states_of_the_quality_is_passed_on() -> None:
    """Also an empty list, which is never dropped; what is no list of texts is no statement."""

    def stated(value: Any, wanted: str = "none") -> Any:
        result = a_result(summary={"qc_fail_reasons": value})
        (scan,) = posted(result, qc_fail_reasons=wanted)["scanResults"]
        return scan.get("qcFailReasons", "absent")

    assert stated(["folded", "air bubble"]) == ["folded", "air bubble"]
    assert stated([]) == []
    assert stated([], "warnings") == []
    assert stated("folded") == stated([7]) == stated(None) == "absent"


def test_results_of_the_case_are_sent_as_they_are_asked_for() -> None:
    """An object as it is; an algorithm that answers for each scan has nothing to say of the case."""
    given = {"note": ["x", {"y": 1}]}
    assert posted(a_result(), case_results=given)["caseResults"] == given
    for absent in (True, False, None):
        assert "caseResults" not in posted(a_result(), case_results=absent)


def test_segments_are_named_as_people_read_the_class() -> None:
    """The title of a class goes before its name."""
    classes = (
        ClassCard(name="n", color="#1f6fd6", annotation_type="a", title="Negative nucleus"),
        ClassCard(name="p", color="#c8321e", annotation_type="b"),
    )
    card = a_card().model_copy(update={"classes": classes})
    found = segments(a_result(card=card), features_in="segments")
    names = {one["properties"]["name"] for features in found.values() for one in features}
    assert names == {"Negative nucleus", "p"}
