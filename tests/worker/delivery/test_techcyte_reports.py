"""The seven types of reports that Techcyte shows."""

import io
import json
from typing import Any

import numpy as np
import pytest

from broker.orders.report_type import OUTPUTS
from demo.techcyte_rules import check_results
from tests.support.results import AREA, a_card, a_result, around, nuclei, objects
from worker.delivery.destinations.techcyte import payload
from worker.geometry.frame import Area
from worker.results.objects import CHUNK
from worker.results.result import Result

TWO_POLYGONS = (
    (((1000, 500), (1300, 500), (1300, 900), (1000, 900)),),
    (((1400, 500), (1600, 500), (1600, 900), (1400, 900)), ((1450, 550), (1500, 550), (1500, 600))),
)
KEYS: dict[str, dict[str, Any]] = {
    "AiMitosisCounting": {"mitosis": "positive"},
    "TumorCellularity": {"tumor": ["positive"]},
    "WholeSlideDifferential": {"positive": "positive"},
}


def with_report(kind: str, output: str = "objects", **changed: Any) -> Result:
    keys = {**KEYS.get(kind, {}), **changed.pop("keys", {})}
    card = a_card(output).model_copy(update={"report": {"type": kind, **keys}})
    return a_result(changed.pop("found", None), card=card, **changed)


def report_of(result: Result) -> dict[str, Any]:
    """The report in the body, once an independent reader of Techcyte's rules took the body."""
    file = io.BytesIO()
    payload.write([result], file)
    body = check_results(file.getvalue())
    return dict(body["scanResults"][0]["workflow"]["report"])


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("count", [0, 9])
def test_every_type_is_accepted(kind: str, count: int) -> None:
    """Also without a single object, whose report must still be whole."""
    report = report_of(with_report(kind, found=nuclei(count)))
    assert report["type"] == kind


def test_mitoses_alone_are_counted_in_the_hotspot() -> None:
    """A square of 0.01 mm2 is 100 um, 400 by 385 pixels here: all mitoses but the far one fit."""
    places = [(1100, 600), (1120, 620), (1140, 640), (1590, 890), (1110, 610)]
    found = objects([around(x, y) for x, y in places], [1, 1, 1, 1, 0])
    keys = {"hotspot_mm2": 0.01}
    report = report_of(with_report("AiMitosisCounting", found=found, keys=keys))
    boxes = {(box["x"], box["y"], box["width"]) for box in report["objects"]}
    assert boxes == {(x - 10, y - 10, 20) for x, y in places[:4]}
    (hotspot,) = report["regions"]
    assert hotspot["properties"] == {"annotation_type": "region", "name": "Hotspot 1: 3"}
    left, top, right, bottom = hotspot["bbox"]
    assert (right - left, round(bottom - top)) == (400, 385)
    assert left <= 1100 <= right
    assert top <= 600 <= bottom


def test_an_area_smaller_than_a_hotspot_is_the_region() -> None:
    """600 x 400 pixels are far less than 2 mm2."""
    (region,) = report_of(with_report("RegionCounting"))["regions"]
    assert region["bbox"] == [1000, 500, 1600, 900]
    assert region["properties"]["name"] == "Area"


def test_points_have_the_probability_of_the_positive_class() -> None:
    """Where only the score of the own class is known, the other class's is its rest."""
    found = objects([around(1100, 600), around(1300, 700)], [0, 1])
    report = report_of(with_report("WholeSlideDifferential", found=found))
    first, second = report["points"]
    assert first == {"x": 1100.0, "y": 600.0, "score": 0.5, "type": "negative"}
    assert second == {"x": 1300.0, "y": 700.0, "score": 0.9877, "type": "positive"}
    assert report["scores"] == {"share of negative": 0.5, "share of positive": 0.5}
    assert report["positivity_threshold"] == 0.5


def test_every_polygon_asked_for_is_a_region_with_its_points() -> None:
    """Its weight is its share of the area; its score the share of points above the threshold."""
    area = Area(AREA.x, AREA.y, AREA.width, AREA.height, TWO_POLYGONS)
    found = objects([around(1100, 600), around(1200, 700), around(1550, 800)], [0, 1, 1])
    keys = {"positive": "positive", "positivity_threshold": 0.6}
    report = report_of(with_report("AreaDifferential", found=found, area=area, keys=keys))
    first, second = report["regions"]
    assert [len(first["points"]), len(second["points"])] == [2, 1]
    assert [first["score"], second["score"]] == [0.5, 1.0]
    whole = 300 * 400 + 200 * 400 - 50 * 50 / 2
    assert first["weight"] == round(300 * 400 / whole, 6)
    assert len(second["region"]["geometry"]["coordinates"]) == 2


def test_cellularity_of_a_mask_is_a_share_of_its_area() -> None:
    """Tumour over all classes of the mask; the label says the share."""
    summary = {"area_mm2": 0.5, "area_mm2_by_class": {"negative": 0.3, "positive": 0.1}}
    report = report_of(with_report("TumorCellularity", "mask", summary=summary))
    (measured,) = report["threshold_map"].values()
    assert list(report["threshold_map"]) == ["TC 0.25"]
    assert measured["tumor_cellularity"] == 0.25
    assert measured["counts"] == [
        {"label": "negative", "count": 5},
        {"label": "positive", "count": 4},
    ]
    assert measured["area"] == pytest.approx(600 * 400 * 0.25 * 0.26 / 1e6)


def test_cellularity_of_objects_is_a_share_of_them() -> None:
    """Four of nine nuclei."""
    report = report_of(with_report("TumorCellularity"))
    assert report["threshold_map"]["TC 0.44"]["tumor_cellularity"] == round(4 / 9, 6)


def test_nothing_found_is_no_cellularity_of_zero() -> None:
    """A share of nothing is no measurement."""
    assert report_of(with_report("TumorCellularity", found=nuclei(0)))["threshold_map"] == {}


def test_more_points_than_a_batch_are_all_there() -> None:
    """Points and boxes are written in batches."""
    count = CHUNK + 3
    places = np.random.default_rng(0).uniform((1000, 500), (1600, 900), (count, 2))
    found = objects([around(x, y, points=4) for x, y in places])
    for kind, name in (
        ("WholeSlideDifferential", "points"),
        ("SemiQuantitativeDifferential", "points"),
        ("RegionCounting", "objects"),
    ):
        assert len(report_of(with_report(kind, found=found))[name]) == count
    (region,) = report_of(with_report("AreaDifferential", found=found))["regions"]
    assert len(region["points"]) == count


def test_the_same_result_is_the_same_bytes() -> None:
    """A payload is built once, and may be compared."""

    def body() -> bytes:
        file = io.BytesIO()
        payload.write([with_report("AreaDifferential")], file)
        return file.getvalue()

    assert body() == body()
    assert json.loads(body())
