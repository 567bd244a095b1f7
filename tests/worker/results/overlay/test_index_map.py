"""The map that is drawn in place of outlines that nobody could tell apart."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.results import WARNINGS, a_result, nuclei
from worker.algorithms.builtin.cards import ki67_card
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.results.objects import Objects
from worker.results.overlay import drawing, legend
from worker.results.overlay.index_map import IndexMap, PictureView, index_map, positive_class
from worker.results.result import Result

FRAME = Frame(20_000, 10_000, 0.5, 0.5, "slide")
AREA = Area(0, 0, 20_000, 10_000)
VIEW = PictureView((0, 0), (0.1, 0.1), (5.0, 5.0), (1000, 2000))
HOT = (12_000, 6000)


def a_section() -> Objects:
    """60,000 nuclei on the left and in the middle; within 1,000 px of `HOT` 60 % are positive, of
    the others 5 %."""
    rng = np.random.default_rng(0)
    centres = rng.uniform((2000, 1000), (15_000, 9000), (60_000, 2))
    is_hot = np.hypot(*(centres - HOT).T) < 1000
    is_positive = rng.random(len(centres)) < np.where(is_hot, 0.6, 0.05)
    square = np.array([(-8, -8), (8, -8), (8, 8), (-8, 8)])
    outlines = tuple(centre + square for centre in centres)
    return Objects(centres, outlines, is_positive.astype(np.int64), np.ones(len(centres)))


@pytest.fixture(scope="module")
def section() -> Objects:
    return a_section()


@pytest.fixture(scope="module")
def shown(section: Objects) -> IndexMap:
    return index_map(section, 1, VIEW)


def drawn(found: Objects, picture: Pixels) -> Pixels:
    result = a_result(found, card=ki67_card(), area=AREA, frame=FRAME)
    with Image.open(io.BytesIO(drawing.draw(picture, result))) as image:
        return np.asarray(image)


def test_the_map_holds_the_index_of_each_place(shown: IndexMap) -> None:
    """It is high where many nuclei are positive, low elsewhere, and the scale ends above it."""
    x, y = np.array(HOT) // 10
    assert shown.index_pct[y, x] == pytest.approx(60, abs=8)
    assert shown.index_pct[300, 500] == pytest.approx(5, abs=3)
    assert shown.scale_end_pct in (60, 80)
    assert shown.objects[500, 1900] < 0.01


def test_a_hotspot_is_counted_exactly(section: Objects, shown: IndexMap) -> None:
    """The first one lies where the index is highest; its numbers are those of the nuclei in it."""
    hotspot = shown.hotspots[0]
    centre = (np.array(hotspot.centre)) * 10
    assert np.hypot(*(centre - HOT)) < 1000
    inside = np.hypot(*(section.centres - centre).T) <= 500
    assert hotspot.objects == pytest.approx(inside.sum(), abs=3)
    assert hotspot.positive == pytest.approx(section.classes[inside].sum(), abs=3)
    indices = [hotspot.index_pct for hotspot in shown.hotspots]
    assert indices == sorted(indices, reverse=True)


def test_few_objects_are_no_hotspot() -> None:
    """An index of a handful of nuclei would be chance."""
    centres = np.full((20, 2), 5000.0) + np.arange(20)[:, None]
    few = Objects(centres, (), np.ones(20, np.int64), np.ones(20))
    assert index_map(few, 1, VIEW).hotspots == ()


def test_a_whole_slide_is_drawn_as_a_map_with_a_scale(section: Objects) -> None:
    """Glass stays grey, tissue has the colours of the scale, and no nucleus is drawn."""
    image = drawn(section, np.full((1024, 2048, 3), 200, np.uint8))
    assert (image[60, 1990] == 200).all()
    hot = np.median(image[574:654, 1189:1269], axis=(0, 1))
    cold = np.median(image[267:347, 472:552], axis=(0, 1))
    assert hot[1] > cold[1] + 40
    assert np.ptp(cold) > 10
    assert image.shape[0] > 1024 + 100


def test_classes_without_positive_are_drawn_as_dots(section: Objects) -> None:
    """Only a class titled `Positive` makes an index."""
    assert positive_class(ki67_card()) == 1
    assert positive_class(a_result().card) is None


def test_few_small_objects_stay_dots(section: Objects) -> None:
    """A hundred nuclei on a slide can be told apart: each is seen."""
    few = next(section.chunks())
    few = Objects(few.centres[:100], few.outlines[:100], few.classes[:100], few.scores[:100])
    image = drawn(few, np.full((1024, 2048, 3), 200, np.uint8))
    x, y = (few.centres[0] * 0.1024).astype(int)
    around: Floats = image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3)
    assert (np.ptp(around.astype(int), axis=1) > 100).any()


def strip(result: Result) -> Pixels:
    return legend.banner(result.warnings, 800)


def test_a_warning_is_a_banner_above_the_picture() -> None:
    """It is as wide as the picture and signal yellow; without a warning there is none."""
    assert strip(a_result()).shape[0] == 0
    banner = strip(a_result(warnings=WARNINGS))
    assert banner.shape[1] == 800
    assert banner.shape[0] > 20
    assert tuple(banner[0, 0]) == (255, 210, 77)
    assert (banner < 60).all(axis=2).any()
    picture = np.full((400, 800, 3), 90, np.uint8)
    plain = drawing.draw(picture, a_result(nuclei(0)))
    warned = drawing.draw(picture, a_result(nuclei(0), warnings=WARNINGS))
    heights = []
    for png in (plain, warned):
        with Image.open(io.BytesIO(png)) as image:
            heights.append(image.height)
    assert heights[1] == heights[0] + banner.shape[0]


@pytest.mark.parametrize("letter", ["µ", "²", "×", "–", "≥"])
def test_the_font_has_the_letters_of_the_field(letter: str) -> None:
    """Microns are not written as `um`, and no letter is an empty box."""
    font = legend.Type(20).font
    missing = bytes(font.getmask("\uffff"))
    assert bytes(font.getmask(letter)) != missing


@pytest.mark.parametrize("number", [0, 1])
def test_outlines_of_ki67_stand_out_from_both_stains(number: int) -> None:
    """Their colours differ in brightness from blue and from brown nuclei: contrast 3 at least."""
    color = drawing.rgb(ki67_card().classes[number].color)
    for stain in ((90, 85, 150), (120, 70, 40)):
        assert (luminance(color) + 0.05) / (luminance(stain) + 0.05) > 3


def luminance(color: tuple[int, int, int]) -> float:
    """WCAG 2's relative luminance."""
    linear = (np.array(color) / 255) ** 2.2
    return float(linear @ (0.2126, 0.7152, 0.0722))
