"""Outlines that are not a few points around a nucleus: holes, turns, and very long rings."""

from pathlib import Path

import numpy as np
import shapely

from tests.support.findings_tiles import DrawnObject, FindingsReader
from tests.support.masks import MaskCase, mask_card, mask_result
from tests.support.results import Drawn, a_result, around, objects
from worker.geometry.frame import Area, Floats, Frame
from worker.results import result_folder
from worker.results.result import Result

WIDE = Frame(9000, 5000, 0.25, 0.25, "slide")


def drawn(folder: Path, result: Result) -> list[DrawnObject]:
    result_folder.save(folder, result, Drawn(b"png"))
    frame = result.findings.frame
    reader = FindingsReader.of(folder / "findings.pmtiles", frame.width, frame.height)
    return sorted(reader.objects(), key=lambda one: one.number)


def on_wide(outlines: list[Floats]) -> Result:
    return a_result(objects(outlines), frame=WIDE, area=Area(0, 0, 9000, 5000))


def test_holes_follow_their_outline_and_turn_the_other_way(tmp_path: Path) -> None:
    """The polygons of a mask, as large as in its features."""
    pixels = np.zeros((40, 60), np.int64)
    pixels[4:36, 4:44] = 1
    pixels[8:32, 8:40] = 0
    pixels[12:28, 12:30] = 2
    pixels[16:20, 14:18] = 0
    pixels[22:25, 20:26] = 0
    pixels[10:20, 50:56] = 1
    case = MaskCase(pixels, mask_card(tile_px=16), mpp=0.5)
    merged = tmp_path / "merged"
    merged.mkdir()
    found = drawn(tmp_path / "r", mask_result(case, case.merged(merged)))
    areas = {1: 0.0, 2: 0.0}
    for one in found:
        outline, *holes = one.rings
        polygon = shapely.Polygon(outline, holes)
        assert polygon.is_valid
        assert shapely.LinearRing(outline).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)
        areas[one.kind] += polygon.area
    assert sorted(len(one.rings) for one in found) == [1, 2, 3]
    assert areas == {kind: 4.0 * (pixels == kind).sum() for kind in (1, 2)}


def test_all_outlines_turn_clockwise(tmp_path: Path) -> None:
    """Whichever way they are kept: drawn as one path, two that overlap leave no gap."""
    found = drawn(tmp_path / "r", on_wide([around(500, 500), around(505, 505)[::-1]]))
    assert [shapely.LinearRing(one.rings[0]).is_ccw for one in found] == [True, True]


def test_a_ring_of_a_million_points_loses_points(tmp_path: Path) -> None:
    """A tile counts the points of a ring in 16 bits. Those that are left are where they were."""
    angles = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    radius = 2300 + 8 * np.sin(angles * 90_000)
    ring = np.array((4500, 2500)) + radius[:, None] * np.stack(
        [np.cos(angles), np.sin(angles)], axis=1
    )
    (one,) = drawn(tmp_path / "r", on_wide([ring]))
    assert 10_000 < len(one.rings[0]) <= 65_535
    distances = np.linalg.norm(one.rings[0] - (4500, 2500), axis=1)
    assert (distances > 2290).all()
    assert (distances < 2310).all()


def test_points_that_fall_together_in_a_coarse_tile_are_one(tmp_path: Path) -> None:
    """An outline of 4,000 px with a point for each of its pixels."""
    side = np.arange(4000.0)
    square = np.concatenate(
        [
            np.stack([side, np.zeros(4000)], axis=1),
            np.stack([np.full(4000, 4000.0), side], axis=1),
            np.stack([4000 - side, np.full(4000, 4000.0)], axis=1),
            np.stack([np.zeros(4000), 4000 - side], axis=1),
        ]
    )
    dense = (square[:, None] + np.array([(0, 0), (0.2, 0.1)])[None]).reshape(-1, 2)
    (one,) = drawn(tmp_path / "r", on_wide([dense + np.array((300, 200))]))
    assert one.tile == (2, 0, 0)
    assert len(one.rings[0]) < 20_000
