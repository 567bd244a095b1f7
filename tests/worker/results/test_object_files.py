"""The files that hold every object: the table, and the packed GeoJSON."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from broker.orders.algorithm_card import ClassCard
from tests.support.results import a_card, a_result, objects
from worker.geometry.frame import Floats, Frame
from worker.results.files import object_files
from worker.results.objects import Objects
from worker.results.result import Result

SQUARE = np.array([(1100.0, 600.0), (1120, 600), (1120, 640), (1100, 640)])


def table(folder: Path, result: Result) -> list[list[str]]:
    object_files.write(folder, result)
    with (folder / "objects.csv").open(newline="") as file:
        return list(csv.reader(file))


def features(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "features.geojson").read_bytes())["features"])


def test_the_packed_features_are_the_features(tmp_path: Path) -> None:
    """Unpacked they are the same bytes, and packed again they are the same file."""
    object_files.write(tmp_path, a_result())
    packed = (tmp_path / "features.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "features.geojson").read_bytes()
    assert packed[3:8] == bytes(5)  # no name, no time
    object_files.write(tmp_path, a_result())
    assert (tmp_path / "features.geojson.gz").read_bytes() == packed


def test_objects_have_their_measurements_in_a_row(tmp_path: Path) -> None:
    """The id is that of the feature; centre and box are level-0 pixels, the area square microns."""
    head, row = table(tmp_path, a_result(objects([SQUARE])))
    columns = "id class x y score area_um2 minx miny width height dab_od_mean"
    assert head == columns.split()
    (feature,) = features(tmp_path)
    values = "negative 1110.0 620.0 0.5 52.0 1100.0 600.0 20.0 40.0 0.05"
    assert row == [feature["id"], *values.split()]


def test_an_outline_without_area_has_no_row(tmp_path: Path) -> None:
    """The rows are those of the features, in their order."""
    found = objects([SQUARE, np.full((5, 2), 1100.02), SQUARE + 50])
    rows = table(tmp_path, a_result(found))[1:]
    assert [row[0] for row in rows] == [feature["id"] for feature in features(tmp_path)]


def test_without_a_pixel_size_the_area_is_empty(tmp_path: Path) -> None:
    """Pixels are not passed off as microns."""
    result = a_result(objects([SQUARE]), frame=Frame(4000, 3000, None, None, "none"))
    head, row = table(tmp_path, result)
    assert row[head.index("area_um2")] == ""


def tiles(corners: Floats) -> Objects:
    outlines = corners[:, None] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * 89.6
    likely = np.array([[0.25, 0.75], [0.9, 0.1]])
    return Objects(
        outlines.mean(axis=1), tuple(outlines), likely.argmax(axis=1), likely.max(axis=1), likely
    )


def test_tiles_have_the_columns_of_wsinfer_first(tmp_path: Path) -> None:
    """Whole pixels without gaps between neighbours, and a class whose name needs quotes."""
    classes = (
        ClassCard(name="tumour, high", color="#1f6fd6", annotation_type="t"),
        ClassCard(name="other", color="#c8321e", annotation_type="o"),
    )
    card = a_card("tiles").model_copy(update={"classes": classes, "measurements": ()})
    found = tiles(np.array([(1000.0, 500.0), (1089.6, 500.0)]))
    head, first, second = table(tmp_path, a_result(found, card=card))
    probabilities = ["prob_tumour, high", "prob_other"]
    assert head == ["minx", "miny", "width", "height", *probabilities, "class", "score"]
    assert first == ["1000", "500", "90", "90", "0.25", "0.75", "other", "0.75"]
    assert second == ["1090", "500", "89", "90", "0.9", "0.1", "tumour, high", "0.9"]
