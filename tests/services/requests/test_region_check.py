"""What is refused of a region before any work: with the field, the place and what to do."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from broker.errors import OrderError
from broker.orders.roi import Roi
from services.requests import json_body
from services.requests.order_validation import order_of
from services.requests.region_check import check_region
from services.responses.problems import ManyFaultsError

OrderBody = Callable[..., dict[str, Any]]
OUTLINE = [[0, 0], [100, 0], [100, 100], [0, 100]]


def checked(roi: Any) -> None:
    """Read a region as it stands in an order, and check it."""
    check_region(TypeAdapter(Roi).validate_json(json.dumps(roi)), "roi")


def polygon(*rings: Any) -> dict[str, Any]:
    return {"geojson": {"type": "Polygon", "coordinates": rings}}


def polygons(*given: Any) -> dict[str, Any]:
    return {"geojson": {"type": "MultiPolygon", "coordinates": given}}


def square(x: float, y: float, edge: float) -> list[list[float]]:
    return [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge]]


@pytest.mark.parametrize(
    "roi",
    [
        None,
        "full",
        "square",
        {"x": -20, "y": -20, "width": 21, "height": 21},
        {"pct": [-10, -10, 10.5, 10.5]},
        {"polygon": OUTLINE},
        {"polygon": [*OUTLINE, OUTLINE[0]]},
        {"polygon": [point for point in OUTLINE for _ in range(3)]},
        {"polygon": OUTLINE[::-1]},
        {"polygon": square(-30, -30, 128)},
        polygon(OUTLINE, square(10, 10, 20), square(50, 50, 20)),
        polygon(OUTLINE, [[0, 10], [20, 10], [20, 30]]),  # touches in a point
        polygons([OUTLINE, square(10, 10, 50)], [square(20, 20, 10)]),  # an island in a hole
        polygons([OUTLINE], [square(100, 100, 10)]),  # they touch in a point
    ],
)
def test_a_region_whose_meaning_is_clear_is_taken(roi: Any) -> None:
    """Closed or open, in either direction, with repeated points, over any edge, with holes."""
    if roi is None:
        check_region(None, "roi")
        return
    checked(roi)


@pytest.mark.parametrize(
    ("roi", "field", "why"),
    [
        ({"polygon": [[0, 0], [10, 10], [10, 0], [0, 10]]}, "polygon", "itself, at (5, 5)"),
        # It touches itself in a point, and along a line.
        ({"polygon": [[0, 0], [10, 0], [10, 10], [5, 0], [0, 10]]}, "polygon", "itself, at (5, 0)"),
        ({"polygon": [[0, 0], [10, 0], [5, 0], [5, 5]]}, "polygon", "itself, at ("),
        # A spike without area.
        (
            {"polygon": [[0, 0], [10, 0], [10, 10], [20, 20], [10, 10], [0, 10]]},
            "polygon",
            "itself, at (",
        ),
        # A hole that a bridge joins to the outline.
        (
            {
                "polygon": [
                    *[[0, 10], [0, 0], [20, 0], [20, 20], [0, 20], [0, 10]],
                    *[[5, 10], [5, 15], [15, 15], [15, 5], [5, 5], [5, 10]],
                ]
            },
            "polygon",
            "itself, at (",
        ),
        (
            polygon([[0, 0], [10, 10], [10, 0], [0, 10]]),
            "geojson.coordinates[0]",
            "the outline crosses or touches itself, at (5, 5)",
        ),
        (
            polygons([OUTLINE, [[10, 10], [20, 20], [20, 10], [10, 20]]]),
            "geojson.coordinates[0][1]",
            "hole 1 crosses or touches itself, at (15, 15)",
        ),
        (
            polygon(OUTLINE, square(200, 200, 10)),
            "geojson.coordinates",
            "a hole lies outside its polygon, at (200, 200)",
        ),
        (
            polygon(OUTLINE, square(90, 10, 20)),
            "geojson.coordinates",
            "a hole crosses, or touches along a line, the outline or another hole, at (100, 30)",
        ),
        (
            polygon(OUTLINE, OUTLINE),
            "geojson.coordinates",
            "a hole crosses, or touches along a line,",
        ),
        (
            polygon(OUTLINE, square(10, 10, 50), square(20, 20, 10)),
            "geojson.coordinates",
            "a hole lies inside another hole, at (20, 20)",
        ),
        (
            polygon(OUTLINE, square(10, 10, 20), square(20, 20, 20)),
            "geojson.coordinates",
            "a hole crosses, or touches along a line,",
        ),
        (
            polygon(OUTLINE, [[0, 50], [50, 0], [100, 50], [50, 100]]),
            "geojson.coordinates",
            "the holes divide their polygon into parts",
        ),
        (
            polygons([square(200, 0, 9)], [OUTLINE], [square(50, 50, 100)]),
            "geojson.coordinates",
            "two of the polygons overlap or share a part of their border, at (",
        ),
        (polygons([OUTLINE], [OUTLINE]), "geojson.coordinates", "two of the polygons overlap"),
        (polygons([OUTLINE], [square(9, 9, 9)]), "geojson.coordinates", "polygons overlap"),
        (polygons([OUTLINE], [square(100, 0, 100)]), "geojson.coordinates", "share a part"),
    ],
)
def test_a_region_that_leaves_open_what_is_inside_is_refused(
    roi: Any, field: str, why: str
) -> None:
    """Field, place and remedy are named."""
    with pytest.raises(OrderError) as caught:
        checked(roi)
    problem = caught.value.problem
    assert (problem.code, problem.field) == ("request_invalid", f"roi.{field}")
    assert why in problem.detail
    assert problem.hint


@pytest.mark.parametrize(
    "roi",
    [
        {"x": -20, "y": 0, "width": 20, "height": 5},
        {"x": 0, "y": -20, "width": 20, "height": 5},
        {"pct": [-10, 0, 10, 50]},
        {"pct": [0, 100, 10, 50]},
        {"polygon": square(-30, 0, 30)},
        polygons([square(-30, 0, 10)], [square(-15, 0, 10)]),
    ],
)
def test_a_region_that_no_slide_reaches_is_refused(roi: Any) -> None:
    """Left of every slide, above it, or beyond its last percent."""
    with pytest.raises(OrderError) as caught:
        checked(roi)
    assert (caught.value.code, caught.value.problem.field) == ("roi_outside_slide", "roi")


@pytest.mark.parametrize(
    ("roi", "field", "why"),
    [
        (polygon([[0, 0], [5, 5], [9, 9], [0, 0]]), ".geojson", "ring 1 of polygon 1 encloses"),
        (polygon(OUTLINE, [[5, 5]] * 4), ".geojson", "ring 2 of polygon 1 encloses nothing"),
        (
            polygon([[n, n * n] for n in range(6000)], [[n, n * n] for n in range(6000)]),
            ".geojson",
            "has 12000 points; a region has at most 10,000 points",
        ),
        (polygon([[0, 0], [9, 0], [0, 9, 1]]), ".geojson.coordinates[0][2]", "at most 2"),
        (
            polygon([[0, 0], [2**31, 0], [0, 9]]),
            ".geojson.coordinates[0][1][0]",
            "it is 2147483648",
        ),
        (polygons([OUTLINE, [[0, 0], [1, 1]]]), ".geojson.coordinates[0][1]", "at least 3"),
    ],
)
def test_a_fault_of_a_geometry_is_told_by_its_ring(
    order_body: OrderBody, roi: Any, field: str, why: str
) -> None:
    """One fault, with its place in the JSON as people write it."""
    scans = [{"id": "a", "source": {"type": "path", "path": "/slides/a.svs"}, "roi": roi}]
    with pytest.raises(ManyFaultsError) as caught:
        order_of(json_body.parse(json.dumps(order_body(scans=scans)).encode()))
    (fault,) = caught.value.faults
    assert (fault.code, fault.field) == ("request_invalid", f"scans[0].roi{field}")
    assert why in fault.detail


def test_the_largest_polygon_is_checked_in_moments() -> None:
    """10,000 points that cross one another everywhere."""
    began = time.process_time()
    with pytest.raises(OrderError, match="crosses or touches itself"):
        checked({"polygon": [[n, n * n % 9999] for n in range(10_000)]})
    assert time.process_time() - began < 10
