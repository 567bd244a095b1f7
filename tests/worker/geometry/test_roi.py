"""From the requested region to the area: rectangles, percents and polygons, at every edge."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import OrderError
from broker.orders.algorithm_card import AlgorithmCard
from broker.orders.roi import (
    GeoJson,
    GeoJsonMultiPolygon,
    GeoJsonPolygon,
    Percent,
    Polygon,
    Rectangle,
    Roi,
)
from worker.algorithms.builtin.box_grid import process_image
from worker.algorithms.builtin.cards import grid_card
from worker.algorithms.builtin.image_function import BuiltinReport
from worker.geometry.frame import Area, Frame
from worker.geometry.roi import (
    borders,
    inside,
    polygon_rings,
    read_footprint,
    resolve_roi,
    size_px2,
)
from worker.geometry.tile_grid import Tile, tile_grid
from worker.inference.merging.seams import SeamMerger
from worker.results.objects import Objects

FRAME = Frame(1000, 800, 0.25, 0.5, "slide")
TRIANGLE = Polygon(polygon=((100.0, 100.0), (500.0, 100.0), (100.0, 500.0)))
CARD = AlgorithmCard(
    name="c",
    version="1",
    digest="0",
    title="",
    description="",
    output="objects",
    mpp=0.5,
    tile_px=64,
    halo_px=8,
    classes=(),
    parameters={},
)


def test_a_polygon_is_the_box_around_it_and_what_it_encloses() -> None:
    """The box is whole pixels; the size is the polygon's own."""
    area = resolve_roi(TRIANGLE, FRAME)
    assert (area.x, area.y, area.width, area.height) == (100, 100, 400, 400)
    assert size_px2(area) == 400 * 400 / 2
    assert inside(
        np.array([(101.0, 101.0), (499.0, 499.0), (300.5, 299.0), (99.0, 200.0)]), area
    ).tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_a_polygon_is_cut_at_the_edge_of_the_slide() -> None:
    """Only what lies on the slide counts."""
    area = resolve_roi(
        Polygon(polygon=((900.0, 700.0), (1100.0, 700.0), (1100.0, 900.0), (900.0, 900.0))), FRAME
    )
    assert (area.width, area.height, size_px2(area)) == (100, 100, 10_000)


@pytest.mark.parametrize(
    ("points", "code"),
    [
        (((0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)), "request_invalid"),
        (((2000.0, 0.0), (2010.0, 10.0), (2010.0, 0.0)), "roi_outside_slide"),
        (((990.0, 900.0), (1100.0, 700.0), (1100.0, 900.0)), "roi_outside_slide"),
    ],
)
def test_a_polygon_that_is_none_or_elsewhere_is_refused(
    points: tuple[tuple[float, float], ...], code: str
) -> None:
    """One that crosses itself, and one of which nothing lies on the slide although its box may."""
    with pytest.raises(OrderError) as caught:
        resolve_roi(Polygon(polygon=points), FRAME)
    assert caught.value.code == code


@given(st.tuples(*[st.floats(0, 100)] * 2, *[st.floats(0.001, 100)] * 2))
def test_percents_are_a_box_on_the_slide_or_outside_it(
    pct: tuple[float, float, float, float],
) -> None:
    """Whatever percents are given, the area lies on the slide and has at least one pixel."""
    if round(pct[0] * 10) >= 1000 or round(pct[1] * 8) >= 800:
        with pytest.raises(OrderError, match="lies outside the slide"):
            resolve_roi(Percent(pct=pct), FRAME)
        return
    area = resolve_roi(Percent(pct=pct), FRAME)
    assert area.width >= 1
    assert area.height >= 1
    assert area.x + area.width <= FRAME.width
    assert area.y + area.height <= FRAME.height


def test_a_polygon_far_beyond_the_slide_has_its_border_on_it() -> None:
    """What is drawn of it is what is left: one ring for each part, all on the slide."""
    far = float(2**31 - 1)
    area = resolve_roi(
        Polygon(polygon=((100.0, 100.0), (far, 100.0), (far, 300.0), (100.0, 300.0))), FRAME
    )
    (ring,) = borders(area)
    assert {tuple(point) for point in ring.tolist()} == {
        (100, 100),
        (1000, 100),
        (1000, 300),
        (100, 300),
    }
    fork = (
        (900.0, 100.0),
        (1100.0, 100.0),
        (1100.0, 300.0),
        (900.0, 300.0),
        (900.0, 250.0),
        (1050.0, 250.0),
        (1050.0, 150.0),
        (900.0, 150.0),
    )
    assert len(borders(resolve_roi(Polygon(polygon=fork), FRAME))) == 2


def test_percents_of_a_slide_are_rounded_to_whole_pixels() -> None:
    """Half of the width from a tenth on, and the lower quarter."""
    assert resolve_roi(Percent(pct=(10.0, 75.0, 50.0, 25.0)), FRAME) == Area(100, 600, 500, 200)


def test_tiles_without_anything_of_the_polygon_are_not_read() -> None:
    """Of the tiles that cover its box, those beyond the long side of the triangle are left out."""
    every = tile_grid(
        resolve_roi(Rectangle(x=100, y=100, width=400, height=400), FRAME), FRAME, CARD
    )
    some = tile_grid(resolve_roi(TRIANGLE, FRAME), FRAME, CARD)
    assert set(some.tiles) < set(every.tiles)
    step_x = 64 * some.downsample_x
    step_y = 64 * some.downsample_y
    left_out = set(every.tiles) - set(some.tiles)
    assert all((tile.x - 100) + (tile.y - 100) > 400 for tile in left_out)
    assert all((tile.x - 100) + (tile.y - 100) <= 400 for tile in some.tiles)
    assert (
        {(tile.x - 100) % step_x for tile in some.tiles}
        == {(tile.y - 100) % step_y for tile in some.tiles}
        == {0}
    )


def test_an_object_outside_the_polygon_is_not_found() -> None:
    """A centre in the box but beyond the polygon is dropped with its outline."""
    grid = tile_grid(resolve_roi(TRIANGLE, FRAME), FRAME, CARD)
    centres = np.array([(20.0, 20.0), (60.0, 60.0)])
    found = Objects(centres, (centres, centres), np.zeros(2, np.int64), np.ones(2))
    tile = Tile(0, 248.0, 248.0)  # downsample 2 by 1: centres at (272, 260) and (352, 300)
    assert SeamMerger(grid).add(found, tile).centres.tolist() == [[272.0, 260.0]]


def test_a_grid_keeps_the_boxes_of_the_polygon() -> None:
    """Of 4 x 4 boxes the triangle has the six whose centre lies in it; those on its long side do
    not."""
    algorithm = BuiltinReport(grid_card(), process_image, {"rows": 4, "columns": 4})
    findings = algorithm.report(FRAME, resolve_roi(TRIANGLE, FRAME))
    assert findings.summary["boxes"] == len(findings.objects) == 6
    assert all(
        inside(objects.centres, findings.area).all() for objects in findings.objects.chunks()
    )


@given(st.integers(0, 900), st.integers(0, 700), st.integers(1, 300), st.integers(1, 300))
def test_the_reach_holds_every_tile_with_its_halo(x: int, y: int, width: int, height: int) -> None:
    """As far as the slide goes, nothing is read beyond the reach."""
    area = resolve_roi(Rectangle(x=x, y=y, width=width, height=height), FRAME)
    box = read_footprint(area, FRAME, CARD)
    for tile in tile_grid(area, FRAME, CARD).tiles:
        assert box.x <= max(0, tile.x - 8 * 2)
        assert box.y <= max(0, tile.y - 8)
        assert box.x + box.width >= min(FRAME.width, tile.x + (64 + 8) * 2)
        assert box.y + box.height >= min(FRAME.height, tile.y + 64 + 8)


@pytest.mark.parametrize(
    "roi",
    [
        Rectangle(x=-20, y=-30, width=148, height=158),
        Percent(pct=(-2.0, -3.75, 14.8, 19.75)),
        Polygon(polygon=((-20, -30), (128, -30), (128, 128), (-20, 128))),
        GeoJson(
            geojson=GeoJsonPolygon(
                type="Polygon",
                coordinates=(((-20, -30), (128, -30), (128, 128), (-20, 128), (-20, -30)),),
            )
        ),
    ],
)
def test_what_lies_left_of_and_above_the_slide_is_left_out(roi: Roi) -> None:
    """As beyond the other two edges; a point on the slide's own edge is inside."""
    area = resolve_roi(roi, FRAME)
    assert (area.x, area.y, area.width, area.height) == (0, 0, 128, 128)
    assert size_px2(area) == 128 * 128
    points = np.array([(0.0, 0.0), (0.0, 127.5), (127.5, 0.0), (129.0, 5.0), (-1.0, 5.0)])
    assert inside(points, area).tolist() == [True, True, True, False, False]
    (ring,) = borders(area)
    assert ring.min() == 0
    assert ring.max() == 128
    whole = resolve_roi(Rectangle(x=0, y=0, width=128, height=128), FRAME)
    assert tile_grid(area, FRAME, CARD).tiles == tile_grid(whole, FRAME, CARD).tiles
    assert read_footprint(area, FRAME, CARD) == read_footprint(whole, FRAME, CARD)


@pytest.mark.parametrize(
    "roi",
    [
        Rectangle(x=-20, y=0, width=20, height=9),
        Rectangle(x=0, y=-20, width=9, height=20),
        Percent(pct=(-20.0, 0.0, 20.0, 50.0)),
        Polygon(polygon=((-20, 0), (0, 0), (-20, 9))),
    ],
)
def test_a_region_beyond_the_left_or_the_upper_edge_is_refused(roi: Roi) -> None:
    """Nothing of it lies on the slide."""
    with pytest.raises(OrderError) as caught:
        resolve_roi(roi, FRAME)
    assert caught.value.code == "roi_outside_slide"


def test_the_words_of_iiif_are_the_whole_and_the_square_in_the_middle() -> None:
    """`full` is what no region is; `square` has the shorter side of the slide, either way round."""
    assert resolve_roi("full", FRAME) == resolve_roi(None, FRAME) == Area(0, 0, 1000, 800)
    assert resolve_roi("square", FRAME) == Area(100, 0, 800, 800)
    upright = Frame(801, 1000, 0.5, 0.5, "slide")
    assert resolve_roi("square", upright) == Area(0, 99, 801, 801)


SQUARE = ((100.0, 100.0), (500.0, 100.0), (500.0, 500.0), (100.0, 500.0))
HOLE = ((200.0, 200.0), (200.0, 400.0), (400.0, 400.0), (400.0, 200.0))
ISLAND = ((290.0, 290.0), (310.0, 290.0), (310.0, 310.0), (290.0, 310.0))
FAR = ((900.0, 700.0), (1100.0, 700.0), (1100.0, 900.0), (900.0, 900.0))
HOLED = GeoJson(
    geojson=GeoJsonMultiPolygon(
        type="MultiPolygon", coordinates=((SQUARE, HOLE), (ISLAND,), (FAR,))
    )
)


def test_what_lies_in_a_hole_is_outside() -> None:
    """Size, points, tiles and boxes leave out the hole and keep the island in it."""
    area = resolve_roi(HOLED, FRAME)
    assert (area.x, area.y, area.width, area.height) == (100, 100, 900, 700)
    assert size_px2(area) == 400 * 400 - 200 * 200 + 20 * 20 + 100 * 100
    points = np.array([(150.0, 150.0), (250.0, 250.0), (300.0, 300.0), (950.0, 750.0), (700, 600)])
    assert inside(points, area).tolist() == [True, False, True, True, False]
    card = CARD.model_copy(update={"tile_px": 16})
    starts = {(tile.x, tile.y) for tile in tile_grid(area, FRAME, card).tiles}
    assert (100.0, 100.0) in starts
    assert (228.0, 228.0) not in starts  # all of it in the hole
    assert any(abs(x - 290) < 32 and abs(y - 290) < 16 for x, y in starts)
    assert any(x > 800 for x, _ in starts)
    grid = BuiltinReport(grid_card(), process_image, {"rows": 7, "columns": 9})
    boxes = grid.report(FRAME, area)
    assert boxes.summary["boxes"] == 16 - 4 + 1


def test_the_rings_of_an_area_are_its_polygons_on_the_slide() -> None:
    """Each its outline, clockwise on the screen, and its holes, the other way; all closed."""
    found = polygon_rings(resolve_roi(HOLED, FRAME))
    assert [[len(ring) for ring in rings] for rings in found] == [[5, 5], [5], [5]]
    for rings in found:
        for number, ring in enumerate(rings):
            x, y = ring.T
            twice_area = float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())
            assert ring[0].tolist() == ring[-1].tolist()
            assert (twice_area > 0) == (number == 0)
    assert {tuple(point) for point in found[0][1].tolist()} == set(HOLE)
    assert found[2][0].max(axis=0).tolist() == [1000, 800]
    assert len(borders(resolve_roi(HOLED, FRAME))) == 4
    ((box,),) = polygon_rings(Area(1, 2, 3, 4))
    assert {tuple(point) for point in box.tolist()} == {(1, 2), (4, 2), (4, 6), (1, 6)}


@pytest.mark.parametrize(
    ("roi", "stated"),
    [
        (Rectangle(x=1, y=2, width=3, height=4), {}),
        (TRIANGLE, {"polygon": [[100, 100], [500, 100], [100, 500]]}),
        (
            GeoJson(geojson=GeoJsonPolygon(type="Polygon", coordinates=((*SQUARE, SQUARE[0]),))),
            {"polygon": [list(point) for point in SQUARE]},
        ),
        (
            HOLED,
            {
                "polygons": [
                    [list(map(list, ring)) for ring in rings]
                    for rings in ((SQUARE, HOLE), (ISLAND,), (FAR,))
                ]
            },
        ),
    ],
)
def test_results_state_the_area_and_read_it_back(roi: Roi, stated: dict[str, Any]) -> None:
    """A simple polygon by its points, others by the rings of each polygon."""
    area = resolve_roi(roi, FRAME)
    told = area.as_dict()
    assert told.keys() - {"x", "y", "width", "height"} == stated.keys()
    assert stated.items() <= told.items()
    assert Area.from_dict(json.loads(json.dumps(told))) == area


@pytest.mark.parametrize(
    "polygons",
    [((SQUARE, FAR),), ((SQUARE, SQUARE),), ((SQUARE,), (HOLE,)), ((SQUARE,), (SQUARE,))],
)
def test_polygons_that_are_not_simple_are_refused_by_the_worker_too(polygons: Any) -> None:
    """A hole elsewhere or along its outline, polygons that overlap: nobody guesses what is meant."""
    geometry = GeoJsonMultiPolygon(type="MultiPolygon", coordinates=polygons)
    with pytest.raises(OrderError) as caught:
        resolve_roi(GeoJson(geojson=geometry), FRAME)
    assert (caught.value.code, caught.value.problem.field) == ("request_invalid", "roi")
