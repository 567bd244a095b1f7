"""The objects of a scan as tiles, read back by the published layouts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import ClassCard
from tests.support.findings_tiles import DrawnObject, FindingsReader
from tests.support.results import Drawn, a_card, a_result, around, objects
from worker.geometry.frame import Area, Floats, Frame
from worker.results import result_folder
from worker.results.files.geojson import ObjectIds
from worker.results.objects import Objects
from worker.results.result import Result

WIDE = Frame(9000, 5000, 0.25, 0.25, "slide")
WHOLE = Area(0, 0, 9000, 5000)


def saved(folder: Path, result: Result) -> tuple[FindingsReader, dict[str, Any]]:
    """Save a result; return its tiles and its findings.json."""
    result_folder.save(folder, result, Drawn(b"png"))
    frame = result.findings.frame
    reader = FindingsReader.of(folder / "findings.pmtiles", frame.width, frame.height)
    return reader, json.loads((folder / "findings.json").read_bytes())


def scattered(count: int, seed: int = 1) -> Objects:
    """Nuclei anywhere on the wide slide, some of them across the borders of tiles."""
    rng = np.random.default_rng(seed)
    places = rng.uniform((0, 0, 3), (9000, 5000, 40), (count, 3))
    return objects([around(x, y, radius) for x, y, radius in places])


def large() -> list[Floats]:
    """Outlines of the sizes of one, two, four and eight tiles, and of the whole slide."""
    sizes = (1000, 1030, 2040, 2050, 4090, 4100)
    corners = np.array([(0, 0), (1, 0), (1, 0.5), (0, 0.5)])
    made = [corners * size + np.array((900, 700)) for size in sizes]
    return [*made, np.array([(0, 0), (9000, 0), (9000, 5000), (0, 5000)])]


def features(folder: Path) -> dict[str, Any]:
    """The features of features.geojson, by their id."""
    collection = json.loads((folder / "features.geojson").read_bytes())
    return {feature["id"]: feature for feature in collection["features"]}


def feature_centres(folder: Path) -> tuple[Floats, NDArray[np.int64]]:
    """The centres of the boxes around all features, and the numbers of their classes."""
    centres = []
    kinds = []
    for feature in features(folder).values():
        ring = np.array(feature["geometry"]["coordinates"][0])
        centres.append((ring.min(axis=0) + ring.max(axis=0)) / 2)
        kinds.append(int(feature["properties"]["classification"]["name"] == "positive"))
    return np.array(centres), np.array(kinds)


def assert_same_places(
    reader: FindingsReader, found: list[DrawnObject], folder: Path, result: Result
) -> None:
    """Every feature is in one tile, at its place to a quarter of a pixel of the tile's zoom."""
    expected = features(folder)
    ids = ObjectIds(result)
    assert sorted(ids.of(one.number) for one in found) == sorted(expected)
    for one in found:
        zoom, x, y = one.tile
        edge = reader.edge_px(zoom)
        px = edge / 1024
        ring = np.array(expected[ids.of(one.number)]["geometry"]["coordinates"][0])
        drawn = one.rings[0]
        gaps = np.linalg.norm(drawn[:, None] - ring[None], axis=2).min(axis=1)
        assert gaps.max() <= 0.25 * px
        low, high = ring.min(axis=0), ring.max(axis=0)
        assert np.abs([drawn.min(axis=0) - low, drawn.max(axis=0) - high]).max() <= 0.25 * px
        centre = (low + high) / 2
        assert (np.floor(centre / edge) == (x, y)).all()
        assert (high - low).max() <= edge
        assert zoom == reader.finest or (high - low).max() > edge / 2


def test_each_object_is_in_one_tile_at_its_place(tmp_path: Path) -> None:
    """With the number that names its feature, its class and its score; small ones at the finest
    zoom, large ones where a tile is as large as they are."""
    found = scattered(700)
    outlines = [*found.outlines, *large()]
    result = a_result(objects(outlines), frame=WIDE, area=WHOLE)
    reader, document = saved(tmp_path / "r", result)
    drawn = list(reader.objects())
    assert_same_places(reader, drawn, tmp_path / "r", result)
    assert {one.tile[0] for one in drawn} == {0, 1, 2, 3, 4}
    whole = objects(outlines)
    for one in drawn:
        assert one.kind == whole.classes[one.number]
        assert abs(one.score - 255 * whole.scores[one.number]) <= 0.5
    assert (document["T"], document["Z"]) == (1024, 4)


def test_points_beyond_the_slide_are_drawn_at_its_edge(tmp_path: Path) -> None:
    """As in the GeoJSON: negative coordinates and those behind the far corner are moved inside;
    what has no area after that has no feature and no tile."""
    outside = [
        np.array([(-50.0, -50.0), (30.0, -50.0), (30.0, 20.0), (-50.0, 20.0)]),
        np.array([(8990.0, 4990.0), (9400.0, 4990.0), (9400.0, 5300.0), (8990.0, 5300.0)]),
        np.array([(-50.0, -50.0), (-30.0, -50.0), (-30.0, -20.0)]),
        around(4096, 2048, 12),
        np.array([(500.0, 500.0), (500.01, 500.0), (500.0, 500.01)]),
    ]
    result = a_result(objects(outside), frame=WIDE, area=WHOLE)
    reader, document = saved(tmp_path / "r", result)
    drawn = list(reader.objects())
    assert_same_places(reader, drawn, tmp_path / "r", result)
    assert sorted(one.number for one in drawn) == [0, 1, 3]
    assert [entry["count"] for entry in document["classes"]] == [1, 2]


def test_the_reach_is_how_far_outlines_lie_outside_of_their_tile(tmp_path: Path) -> None:
    """In pixels of the tile's zoom, so that a viewer knows which tiles a view needs."""
    result = a_result(objects([*scattered(300).outlines, *large()]), frame=WIDE, area=WHOLE)
    reader, document = saved(tmp_path / "r", result)
    farthest = 0.0
    for one in reader.objects():
        zoom, x, y = one.tile
        edge = reader.edge_px(zoom)
        inside = one.rings[0] - np.array([x, y]) * edge
        farthest = max(farthest, -inside.min() / edge, inside.max() / edge - 1)
    assert document["reach"] - 1 < farthest * 1024 <= document["reach"] <= 512
    few = a_result(objects([around(500, 500)]), frame=WIDE, area=WHOLE)
    assert saved(tmp_path / "few", few)[1]["reach"] == 0


def test_coarse_tiles_count_every_object(tmp_path: Path) -> None:
    """By class, in cells of a 64th of the tile, by the centre of the box around it; no sampling."""
    result = a_result(objects([*scattered(4000).outlines, *large()]), frame=WIDE, area=WHOLE)
    reader, document = saved(tmp_path / "r", result)
    centres, kinds = feature_centres(tmp_path / "r")
    grids = reader.grids()
    assert {zoom for zoom, _, _ in grids} == {0, 1, 2}
    for zoom in (0, 1, 2):
        columns, rows = np.floor(centres / (reader.edge_px(zoom) / 64)).astype(int).T
        expected = np.zeros((2, 64 << zoom, 64 << zoom), int)
        np.add.at(expected, (kinds, rows, columns), 1)
        held = np.zeros_like(expected)
        for (level, x, y), grid in grids.items():
            if level == zoom:
                held[:, y * 64 : y * 64 + 64, x * 64 : x * 64 + 64] = grid.values
                assert grid.stated == grid.values.max()
        assert (held == expected).all()
        assert held.sum(axis=(1, 2)).tolist() == [one["count"] for one in document["classes"]]


def test_more_than_65535_objects_in_a_cell_are_counted_in_32_bits(tmp_path: Path) -> None:
    """The counts stay true."""
    frame = Frame(40_000, 30_000, 0.25, 0.25, "slide")
    one = around(20_100, 15_100)
    count = 70_000
    many = Objects(
        np.full((count, 2), 20_100.0), (one,) * count, np.zeros(count, int), np.ones(count)
    )
    result = a_result(many, frame=frame, card=a_card().model_copy(update={"measurements": ()}))
    reader, _ = saved(tmp_path / "r", result)
    grids = reader.grids()
    assert {grid.magic for grid in grids.values()} == {"SLD2"}
    assert {int(grid.values.max()) for grid in grids.values()} == {count}


def test_300_classes_take_16_bits(tmp_path: Path) -> None:
    """SLF2; the classes come in the order of the card."""
    classes = tuple(
        ClassCard(name=f"c{number}", color="#0072b2", annotation_type="x") for number in range(300)
    )
    card = a_card().model_copy(update={"classes": classes})
    kinds = [299, 0, 256, 255, 7, 299, 1]
    found = objects([around(300 + 90 * i, 400) for i in range(len(kinds))], kinds)
    reader, document = saved(tmp_path / "r", a_result(found, card=card))
    drawn = list(reader.objects())
    assert {one.magic for one in drawn} == {"SLF2"}
    assert [one.kind for one in sorted(drawn, key=lambda one: one.number)] == kinds
    assert [entry["name"] for entry in document["classes"]] == [entry.name for entry in classes]
    assert document["classes"][299]["count"] == 2


def test_nothing_found_is_an_archive_without_tiles(tmp_path: Path) -> None:
    """It can be opened, and states the grid and the classes."""
    reader, document = saved(tmp_path / "r", a_result(objects([]), frame=WIDE, area=WHOLE))
    assert reader.tiles == {}
    assert (document["reach"], document["Z"]) == (0, 4)
    assert [entry["count"] for entry in document["classes"]] == [0, 0]


def test_the_document_says_what_a_viewer_shows(tmp_path: Path) -> None:
    """The frame, the region, the texts, and of each class its colour and how its scores lie."""
    scores = np.array([0.0, 0.01, 0.5, 0.999, 1.0, 1.0])
    found = objects([around(1200 + 40 * i, 700) for i in range(6)], [0, 0, 0, 1, 1, 1])
    found = Objects(
        found.centres, found.outlines, found.classes, scores, measurements=found.measurements
    )
    _, document = saved(tmp_path / "r", a_result(found))
    negative, positive = document.pop("classes")
    assert document == {
        "schema": "slidelane.findings/1",
        "width": 4000,
        "height": 3000,
        "mpp_x": 0.25,
        "mpp_y": 0.26,
        "T": 1024,
        "Z": 2,
        "reach": 0,
        "headline": "3 of 6 nuclei are positive (\u2265 0.15)",
        "summary": {"nuclei": 6, "labelling_index_pct": 50.0, "thresholds": {"dab_od": 0.15}},
        "roi": {"x": 1000, "y": 500, "width": 600, "height": 400},
        "output": "objects",
    }
    assert (negative["name"], negative["title"], negative["color"]) == (
        "negative",
        "negative",
        "#1f6fd6",
    )
    assert [negative["count"], positive["count"]] == [3, 3]
    bars = [(bar, count) for bar, count in enumerate(negative["histogram"]) if count]
    assert (len(negative["histogram"]), bars) == (32, [(0, 2), (16, 1)])
    assert positive["histogram"][31] == 3


def test_the_same_result_is_the_same_bytes(tmp_path: Path) -> None:
    """However its objects are kept, and without a time."""
    result = a_result(scattered(2000), frame=WIDE, area=WHOLE)
    for name in ("a", "b"):
        saved(tmp_path / name, result)
    for name in ("findings.pmtiles", "findings.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not list(tmp_path.glob("*/.*"))
