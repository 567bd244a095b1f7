"""The map of how dense objects of one class are, and tiles that overlap."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.support.decoded_networks import a_card
from tests.support.results import a_result
from worker.geometry.frame import Area, Frame, Pixels
from worker.results.files.geojson import rgb
from worker.results.objects import Objects
from worker.results.overlay import drawing
from worker.results.overlay.density import DensityMap, density_map
from worker.results.overlay.index_map import PictureView

FRAME = Frame(20_000, 10_000, 0.5, 0.5, "slide")
AREA = Area(0, 0, 20_000, 10_000)
VIEW = PictureView((0, 0), (0.1, 0.1), (5.0, 5.0), (1000, 2000))
HOT = (12_000, 6000)
GREY = np.full((1024, 2048, 3), 200, np.uint8)
SQUARE = np.array([(-8, -8), (8, -8), (8, 8), (-8, 8)])


def scattered() -> Objects:
    """40,000 objects, 2,000 in a mm2, and three times as many within 500 um of `HOT`."""
    random = np.random.default_rng(0)
    evenly = random.uniform((1000, 1000), (17_000, 9000), (64_000, 2))
    angle = random.uniform(0, 2 * np.pi, 3142)
    away = 1000 * np.sqrt(random.random(3142))
    hot = HOT + away[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centres = np.concatenate([evenly, hot])
    outlines = tuple(centre + SQUARE for centre in centres)
    return Objects(centres, outlines, np.zeros(len(centres), np.int64), np.ones(len(centres)))


@pytest.fixture(scope="module")
def objects() -> Objects:
    return scattered()


@pytest.fixture(scope="module")
def shown(objects: Objects) -> DensityMap:
    return density_map(objects, "Nucleus", VIEW)


def drawn(found: Objects, picture: Pixels, *classes: str) -> Pixels:
    result = a_result(found, card=a_card(*classes), area=AREA, frame=FRAME, summary={})
    with Image.open(io.BytesIO(drawing.draw(picture, result))) as image:
        return np.asarray(image)


def test_the_map_holds_the_density_of_each_place(shown: DensityMap) -> None:
    """In objects of a square millimetre; far from all objects nothing is painted."""
    assert shown.per_mm2[300, 500] == pytest.approx(2000, rel=0.15)
    assert shown.per_mm2[600, 1200] == pytest.approx(6000, rel=0.15)
    assert shown.near[300, 500] == 1
    assert shown.near[500, 1900] < 0.01
    assert shown.scale_end in (6000, 7000)
    assert shown.scale_words == (
        "0",
        f"{shown.scale_end:,g} Nucleus per mm², within some 200 µm of a place",
    )


def test_the_densest_field_is_counted_exactly(objects: Objects, shown: DensityMap) -> None:
    """Its figures are those of the objects in it; the others follow in order and lie elsewhere."""
    first = shown.hotspots[0]
    centre = np.array(first.centre) * 10
    assert np.hypot(*(centre - HOT)) < 800
    inside = np.hypot(*(objects.centres - centre).T) <= 500
    assert first.objects == pytest.approx(inside.sum(), abs=3)
    counts = [hotspot.objects for hotspot in shown.hotspots]
    assert counts == sorted(counts, reverse=True)
    words = " ".join(shown.hotspot_words)
    assert f"1: {first.objects:,} ({first.objects / (np.pi / 16):,.0f} per mm²)" in words


def test_a_slide_full_of_one_class_is_drawn_as_a_density(objects: Objects) -> None:
    """Glass stays grey, dense places are brighter than others; with two classes it is dots."""
    image = drawn(objects, GREY, "nucleus", "cell")
    assert (image[60, 1990] == 200).all()
    hot = np.median(image[560:580, 1219:1239], axis=(0, 1))
    cold = np.median(image[267:347, 472:552], axis=(0, 1))
    assert hot[1] > cold[1] + 40
    two = replace(objects, classes=np.arange(len(objects)) % 2)
    dots = drawn(two, GREY, "nucleus", "cell")
    assert rgb("#0072b2") in {tuple(color) for color in dots[267:347, 472:552].reshape(-1, 3)}


def test_in_a_small_region_each_object_is_outlined(objects: Objects) -> None:
    """As soon as they can be told apart."""
    area = Area(4000, 4000, 1000, 500)
    inside = ((objects.centres >= (4000, 4000)) & (objects.centres < (5000, 4500))).all(axis=1)
    result = a_result(
        objects.selected(inside), card=a_card("nucleus"), area=area, frame=FRAME, summary={}
    )
    picture = np.full((500, 1000, 3), 200, np.uint8)
    with Image.open(io.BytesIO(drawing.draw(picture, result))) as image:
        colors = {tuple(color) for color in np.asarray(image)[:500].reshape(-1, 3)}
    assert rgb("#0072b2") in colors


def test_overlapping_tiles_are_tinted_by_their_mean() -> None:
    """Where two classes overlap the colour is between them, and no place is tinted twice."""
    corners = np.array([(0, 0), (1000, 0), (1000, 1000), (0, 1000)], float)
    tiles = [corners + np.array([x, 0]) for x in (0, 500, 4000, 4000)]
    found = Objects(
        np.array([tile.mean(axis=0) for tile in tiles]),
        tuple(tiles),
        np.array([0, 1, 0, 0]),
        np.array([1.0, 1.0, 0.5, 0.5]),
    )
    card = a_card("tumor", "stroma", output="tiles", overlap_px=8)
    result = a_result(found, card=card, area=AREA, frame=FRAME, summary={})
    with Image.open(io.BytesIO(drawing.draw(GREY, result))) as image:
        pixels = np.asarray(image).astype(int)
    first, both, second = pixels[50, 25], pixels[50, 76], pixels[50, 140]
    assert np.abs(both - (first + second) / 2).max() <= 2
    blue = np.array(rgb("#0072b2"))
    assert np.abs(first - (200 * 0.4 + blue * 0.6)).max() <= 2
    assert np.abs(pixels[50, 450] - (200 * 0.7 + blue * 0.3)).max() <= 2
