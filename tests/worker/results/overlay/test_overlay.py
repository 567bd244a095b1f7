"""The overlay picture: what lies where, in which colour, and what the legend needs."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.results import a_result, around, nuclei, objects
from worker.geometry.frame import Area, Frame, Pixels
from worker.results.files.geojson import rgb
from worker.results.overlay import drawing
from worker.results.result import Result

BLUE = rgb("#1f6fd6")
RED = rgb("#c8321e")
TISSUE = (180, 120, 90)


def a_picture(width: int, height: int) -> Pixels:
    return np.full((height, width, 3), TISSUE, np.uint8)


def opened(picture: Pixels, result: Result) -> Pixels:
    with Image.open(io.BytesIO(drawing.draw(picture, result))) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image)


def colors_around(image: Pixels, x: float, y: float, reach_px: int = 2) -> set[tuple[int, ...]]:
    """The colours around a place."""
    square = image[
        int(y) - reach_px : int(y) + reach_px + 1, int(x) - reach_px : int(x) + reach_px + 1
    ]
    return {tuple(color) for color in square.reshape(-1, 3).tolist()}


def test_outlines_are_drawn_where_the_nuclei_are() -> None:
    """On a region every outline has its class's colour and its middle shows the tissue."""
    found = objects([around(1200, 600), around(1400, 800)], [0, 1])
    image = opened(a_picture(1200, 800), a_result(found))
    for (x, y), color in zip(((1200, 600), (1400, 800)), (BLUE, RED), strict=True):
        at_x = (x - 1000) * 2
        at_y = (y - 500) * 2
        assert colors_around(image, at_x, at_y) == {TISSUE}
        assert color in colors_around(image, at_x + 20, at_y)
        assert color in colors_around(image, at_x, at_y - 20)


def test_the_borders_of_polygons_and_of_their_holes_are_drawn() -> None:
    """White on black around each polygon and each hole, and nowhere else."""
    outline = ((1000.0, 500.0), (1600.0, 500.0), (1600.0, 900.0), (1000.0, 900.0))
    hole = ((1100.0, 600.0), (1100.0, 800.0), (1300.0, 800.0), (1300.0, 600.0))
    island = ((1180.0, 680.0), (1220.0, 680.0), (1220.0, 720.0), (1180.0, 720.0))
    area = Area(1000, 500, 600, 400, ((outline, hole), (island,)))
    image = opened(a_picture(1200, 800), a_result(objects([], []), area=area))
    for x, y in ((200, 400), (600, 400), (400, 600), (360, 400), (440, 400)):
        assert (255, 255, 255) in colors_around(image, x, y)
    for x, y in ((100, 400), (280, 400), (400, 400), (800, 400)):
        assert colors_around(image, x, y) == {TISSUE}


def test_nuclei_too_small_for_outlines_are_dots_on_a_pale_picture() -> None:
    """On a whole slide each nucleus is a dot in its class's colour, and the tissue steps back to
    grey."""
    whole = Area(0, 0, 40_000, 30_000)
    found = objects([around(8000, 6000), around(20_000, 15_000)], [0, 1])
    image = opened(
        a_picture(1600, 1200),
        a_result(found, area=whole, frame=Frame(40_000, 30_000, 0.25, 0.25, "slide")),
    )
    assert BLUE in colors_around(image, 320, 240)
    assert RED in colors_around(image, 800, 600)
    (background,) = colors_around(image, 1200, 300)
    assert len(set(background)) == 1
    assert background[0] > 180


def test_a_rare_class_is_not_buried_under_a_common_one() -> None:
    """Where dots lie upon each other the rarest class is seen."""
    whole = Area(0, 0, 40_000, 30_000)
    found = objects([around(20_000, 15_000)] * 5, [1, 0, 0, 0, 0])
    image = opened(
        a_picture(1600, 1200),
        a_result(found, area=whole, frame=Frame(40_000, 30_000, 0.25, 0.25, "slide")),
    )
    assert RED in colors_around(image, 800, 600)
    assert BLUE not in colors_around(image, 800, 600, 0)


@pytest.mark.parametrize("rare", [0, 1])
def test_an_outline_of_a_rare_class_lies_on_those_of_a_common_one(rare: int) -> None:
    """Whichever class the card names first."""
    found = objects([around(1200, 600)] * 5, [rare, *[1 - rare] * 4])
    image = opened(a_picture(1200, 800), a_result(found))
    colors = colors_around(image, 400 + 20, 200)
    assert (BLUE, RED)[rare] in colors
    assert (BLUE, RED)[1 - rare] not in colors


@pytest.mark.parametrize(
    ("width", "height"), [(2048, 1365), (1365, 2048), (90, 300), (300, 2), (1, 1)]
)
def test_the_legend_fits_below_any_picture(width: int, height: int) -> None:
    """A picture of any shape keeps its pixels, small ones enlarged by a whole factor, and gets a
    strip below."""
    area = Area(1000, 500, width, height)
    image = opened(a_picture(width, height), a_result(nuclei(0), area=area))
    factor = max(1, 1024 // max(width, height))
    assert image.shape[1] == max(width * factor, 640)
    assert image.shape[0] > height * factor + 30
    assert (image[: height * factor, : width * factor] == TISSUE).all()
    assert (image[-1] == 255).all()
    assert (image[height * factor :] < 100).any()


def test_many_classes_are_wrapped_and_not_cut() -> None:
    """More classes make a higher strip, never a wider one."""
    result = a_result(nuclei(0))
    classes = tuple(
        result.card.classes[0].model_copy(update={"name": f"class {n}"}) for n in range(30)
    )
    longer = a_result(nuclei(0), card=result.card.model_copy(update={"classes": classes}))
    short, tall = (opened(a_picture(700, 300), r) for r in (result, longer))
    assert short.shape[1] == tall.shape[1]
    assert tall.shape[0] > short.shape[0] + 40


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    """At 0.25 microns per level-0 pixel a picture of 600 level-0 pixels has a bar of 20 um, 80
    level-0 pixels."""
    image = opened(a_picture(1200, 800), a_result(nuclei(0)))
    strip = (image[800:] < 40).all(axis=2)
    longest = max(int(row.sum()) for row in strip[:, 900:])
    assert longest == pytest.approx(160, abs=2)


def test_there_is_no_scale_bar_without_a_pixel_size() -> None:
    """A slide that does not say how large a pixel is gets no invented bar."""
    frame = Frame(4000, 3000, None, None, "none")
    image = opened(a_picture(1200, 800), a_result(nuclei(0), frame=frame))
    assert (image[800:, 900:] == 255).all()
