"""Model folders whose network answers a class for each pixel, from a slide to the files."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from torch import nn

from broker.settings.config import AlgorithmSettings
from tests.support.mask_networks import (
    ClassNumbers,
    ColourClasses,
    Redness,
    mask_folder,
    painted_map,
)
from tests.support.scans import scan
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.algorithms import registry
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.progress import StopWork
from worker.results import result_folder

WIDTH = 148
HEIGHT = 108
FILES = ("results.json", "features.geojson", "objects.csv", "overlay.png")


def a_map() -> np.ndarray:
    """A frame across many tiles with a part in its hole, diagonal touches, and the slide's edges;
    in squares of 4 px."""
    small = np.zeros((HEIGHT // 4, WIDTH // 4), np.int64)
    small[2:24, 3:34] = 1
    small[6:20, 7:30] = 0
    small[9:16, 11:24] = 2
    small[11:13, 14:17] = 0
    small[13, 17] = 0
    small[24:27, 34:37] = 2
    small[0, 0] = 1
    small[1, 1] = 1
    return small.repeat(4, axis=0).repeat(4, axis=1)


def algorithm_of(folder: Path, batch: int | None = None, **parameters: Any) -> Any:
    entries = {"glands": AlgorithmSettings(kind="weights", folder=folder)}
    model = registry.load("glands", entries, parameters, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    if batch:
        model.batch_tiles = batch
    return model


def features_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "features.geojson").read_bytes())["features"])


def polygons_of(folder: Path, name: str) -> list[shapely.Polygon]:
    found = []
    for feature in features_of(folder):
        if feature["properties"]["classification"]["name"] == name:
            outline, *holes = feature["geometry"]["coordinates"]
            found.append(shapely.Polygon(outline, holes))
    assert all(polygon.is_valid for polygon in found)
    return found


def drawn(folder: Path, scale: int = 1) -> np.ndarray:
    """The class of each pixel, by its centre."""
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5) * scale
    found = np.zeros((HEIGHT, WIDTH), np.int64)
    for number, name in ((1, "gland"), (2, "tumor")):
        for polygon in polygons_of(folder, name):
            found[shapely.contains_xy(polygon, x, y)] = number
    return found


@pytest.mark.parametrize(
    ("module", "described"),
    [
        (ColourClasses(), {}),
        (ColourClasses(), {"halo_px": 3, "overlap_px": 21}),
        (ColourClasses(crop=7), {"overlap_px": 10}),
        (ColourClasses(stride=2), {"output_stride": 2, "overlap_px": 6}),
        (ColourClasses(crop=8, stride=4), {"output_stride": 4, "halo_px": 12}),
        (ClassNumbers(), {"overlap_px": 5}),
    ],
)
def test_every_form_of_answer_gives_the_pixels_of_the_slide(
    tmp_path: Path, module: nn.Module, described: dict[str, Any]
) -> None:
    """One polygon for each connected part, with holes, across all tiles."""
    pixels = a_map()
    slide = a_slide(tmp_path / "a.svs", painted_map(pixels), mpp=1.0)
    scan(
        algorithm_of(mask_folder(tmp_path / "m", module, **described)),
        slide,
        tmp_path,
        1,
        Listener(),
    )
    folder = tmp_path / "1"
    assert np.array_equal(drawn(folder), pixels)
    told = json.loads((folder / "results.json").read_bytes())["summary"]
    gland = int((pixels == 1).sum())
    tumor = int((pixels == 2).sum())
    assert told == {
        "area_mm2": pytest.approx(WIDTH * HEIGHT / 1e6),
        "area_mm2_by_class": {"gland": gland / 1e6, "tumor": tumor / 1e6},
        "share_by_class": {
            "gland": pytest.approx(gland / (gland + tumor)),
            "tumor": pytest.approx(tumor / (gland + tumor)),
        },
        "polygons_by_class": {"gland": 3, "tumor": 2},
        "precision": "float32",
    }
    scores = [feature["properties"]["measurements"]["score"] for feature in features_of(folder)]
    assert min(scores) > 0.999
    with (folder / "objects.csv").open() as table:
        assert next(csv.reader(table)) == [
            "id", "class", "x", "y", "score", "area_um2", "minx", "miny", "width", "height",
        ]  # fmt: skip


def test_a_lost_scan_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """From the last mark, with tiles pending, in other batches than without a loss."""
    slide = a_slide(tmp_path / "a.svs", painted_map(a_map()), mpp=1.0)
    weights = mask_folder(
        tmp_path / "m",
        ColourClasses(),
        input_px=32,
        overlap_px=12,
        fill_holes_um2=100,
        min_area_um2=20,
    )
    scan(algorithm_of(weights, batch=2), slide, tmp_path / "whole", 1, Listener())
    stopped = Listener(lambda done: done == 25)
    with pytest.raises(StopWork):
        scan(algorithm_of(weights, batch=1), slide, tmp_path / "lost", 1, stopped)
    counts = scan(algorithm_of(weights, batch=1), slide, tmp_path / "lost", 2, Listener())
    assert counts["tiles_resumed"] > 0
    for name in FILES:
        assert (tmp_path / "lost" / "2" / name).read_bytes() == (
            tmp_path / "whole" / "1" / name
        ).read_bytes()


def test_polygons_of_the_region_cut_the_mask(tmp_path: Path) -> None:
    """Also its holes; what is left is exactly the part of the mask in the region."""
    pixels = a_map()
    slide = a_slide(tmp_path / "a.svs", painted_map(pixels), mpp=1.0)
    first = [[(5, 3), (141, 9), (120, 101), (9, 88)], [(60, 40), (61, 70), (90, 52)]]
    second = [[(125, 95), (148, 95), (148, 108), (125, 108)]]
    closed = [[[*ring, ring[0]] for ring in rings] for rings in (first, second)]
    roi = {"geojson": {"type": "MultiPolygon", "coordinates": closed}}
    weights = mask_folder(tmp_path / "m", ColourClasses())
    scan(algorithm_of(weights), slide, tmp_path, 1, Listener(), roi)
    region = shapely.MultiPolygon(
        [shapely.Polygon(rings[0], rings[1:]) for rings in (first, second)]
    )
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number, name in ((1, "gland"), (2, "tumor")):
        is_class = pixels == number
        squares = shapely.box(x[is_class], y[is_class], x[is_class] + 1, y[is_class] + 1)
        expected = shapely.union_all(squares).intersection(region)
        found = shapely.union_all(polygons_of(tmp_path / "1", name))
        # files hold tenths of a pixel
        assert found.symmetric_difference(expected).area < 0.05 * expected.length
        told = json.loads((tmp_path / "1" / "results.json").read_bytes())["summary"]
        assert told["area_mm2_by_class"][name] == pytest.approx(expected.area / 1e6)


def test_a_rectangle_and_the_same_polygon_give_the_same_polygons(tmp_path: Path) -> None:
    """Also at edges that cut pixels, with small parts left out and small holes filled."""
    slide = a_slide(tmp_path / "a.svs", painted_map(a_map()), mpp=0.6)
    weights = mask_folder(tmp_path / "m", ColourClasses(), fill_holes_um2=30, min_area_um2=6)
    box = {"x": 11, "y": 7, "width": 101, "height": 90}
    scan(algorithm_of(weights), slide, tmp_path / "box", 1, Listener(), box)
    outline = [(11, 7), (112, 7), (112, 97), (11, 97)]
    scan(algorithm_of(weights), slide, tmp_path / "ring", 1, Listener(), {"polygon": outline})
    for name in ("gland", "tumor"):
        boxed = polygons_of(tmp_path / "box" / "1", name)
        ringed = polygons_of(tmp_path / "ring" / "1", name)
        assert len(boxed) == len(ringed) > 0
        assert shapely.union_all(boxed).equals(shapely.union_all(ringed))


def test_one_class_is_what_is_likely_enough(tmp_path: Path) -> None:
    """The threshold belongs to it (>=), and an order may set another."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[10:60, 10:80, 0] = 128
    pixels[20:40, 20:50, 0] = 230
    slide = a_slide(tmp_path / "a.svs", pixels, mpp=1.0)
    weights = mask_folder(
        tmp_path / "m", Redness(), classes=["gland"], activation="none", overlap_px=8
    )
    scan(algorithm_of(weights), slide, tmp_path / "usual", 1, Listener())
    (polygon,) = polygons_of(tmp_path / "usual" / "1", "gland")
    assert polygon.equals(shapely.box(10, 10, 80, 60))
    (feature,) = features_of(tmp_path / "usual" / "1")
    mean = (128 * (50 * 70 - 20 * 30) + 230 * 20 * 30) / 255 / (50 * 70)
    assert feature["properties"]["measurements"]["score"] == pytest.approx(mean, abs=1e-4)
    scan(algorithm_of(weights, threshold=0.6), slide, tmp_path / "high", 1, Listener())
    (polygon,) = polygons_of(tmp_path / "high" / "1", "gland")
    assert polygon.equals(shapely.box(20, 20, 50, 40))


def test_simplified_outlines_stay_near_and_the_sizes_are_the_exact_ones(tmp_path: Path) -> None:
    """Douglas-Peucker by so many microns; no outline crosses itself."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = ((x - 70) ** 2 + (y - 54) ** 2 < 45**2).astype(np.int64)
    slide = a_slide(tmp_path / "a.svs", painted_map(pixels), mpp=1.0)
    weights = mask_folder(tmp_path / "m", ColourClasses(), simplify_um=2)
    scan(algorithm_of(weights), slide, tmp_path, 1, Listener())
    (polygon,) = polygons_of(tmp_path / "1", "gland")
    exact = shapely.union_all(shapely.box(x, y, x + 1, y + 1)[pixels == 1])
    assert len(polygon.exterior.coords) < 40
    assert polygon.hausdorff_distance(exact) <= 2.0
    told = result_folder.load(tmp_path / "1").findings.summary
    assert told["area_mm2_by_class"]["gland"] == exact.area / 1e6


def test_a_slide_without_tissue_has_no_share(tmp_path: Path) -> None:
    """Tiles that are not read are background."""
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    slide = a_slide(tmp_path / "a.svs", white, mpp=1.0)
    weights = mask_folder(tmp_path / "m", ColourClasses(), tissue_only=True)
    scan(algorithm_of(weights), slide, tmp_path, 1, Listener())
    found = result_folder.load(tmp_path / "1").findings
    assert found.summary["share_by_class"] == {"gland": None, "tumor": None}
    assert found.summary["polygons_by_class"] == {"gland": 0, "tumor": 0}
    assert found.headline == "nothing found"
