"""Tiles in the colours of their attention and of their vectors."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.support.results import AREA, FRAME, a_card, a_result
from worker.geometry.frame import Floats, Pixels
from worker.results.embeddings import Embeddings
from worker.results.objects import Objects
from worker.results.overlay.components import SAMPLES, component_colors
from worker.results.overlay.drawing import MIN_PX, draw
from worker.results.overlay.tile_colors import scale_colors, tile_colors
from worker.results.result import Result

SIZE = 100.0
PICTURE = np.full((AREA.height, AREA.width, 3), 200, np.uint8)
SCALE = MIN_PX // AREA.width


def squares(places: Floats, **columns: Floats) -> Objects:
    outlines = np.asarray(places, float)[:, None] + SIZE * np.array(
        [(0, 0), (1, 0), (1, 1), (0, 1)]
    )
    count = len(outlines)
    return Objects(
        outlines.mean(axis=1),
        tuple(outlines),
        np.zeros(count, np.int64),
        np.ones(count),
        **columns,  # type: ignore[arg-type]
    )


def a_scan(output: str, tiles: Objects, dimensions: int = 3) -> Result:
    measurements = ("attention", "attention_rank") if output == "slide" else ()
    card = a_card(output).model_copy(update={"measurements": measurements})
    result = a_result(tiles, card=card, frame=FRAME, summary={})
    embeddings = Embeddings(tiles, dimensions, "float32", "uni")
    return replace(result, findings=replace(result.findings, embeddings=embeddings))


def drawn(result: Result) -> Pixels:
    """The overlay as RGB, before its legend."""
    png = cv2.imdecode(np.frombuffer(draw(PICTURE, result), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(png[: AREA.height * SCALE, : AREA.width * SCALE, ::-1])


def colour_at(picture: Pixels, x: float, y: float) -> list[int]:
    """The colour at a place of the slide."""
    found: list[int] = picture[int((y - AREA.y) * SCALE), int((x - AREA.x) * SCALE)].tolist()
    return found


def test_attention_runs_from_blue_to_red_only_where_tiles_are() -> None:
    """The tissue beside them stays as it is."""
    places = np.array([(1000, 500), (1200, 500), (1400, 600)])
    ranks = np.array([(0.1, 1 / 3), (5.0, 2 / 3), (9.0, 1.0)])
    picture = drawn(a_scan("slide", squares(places, measurements=ranks)))
    low = colour_at(picture, 1050, 550)
    high = colour_at(picture, 1450, 650)
    assert low[2] > low[0] + 30
    assert high[0] > high[2] + 60
    assert colour_at(picture, 1150, 550) == [200, 200, 200]
    assert colour_at(picture, 1450, 550) == [200, 200, 200]
    assert colour_at(picture, 1005, 505) == low == colour_at(picture, 1095, 595)


def test_the_scale_is_even_in_rank() -> None:
    """Blue at 0, grey in the middle, red at 1."""
    blue, grey, red = scale_colors(np.array([0, 0.5, 1.0])).tolist()
    assert blue == [59, 76, 192]
    assert grey == [221, 221, 221]
    assert red == [180, 4, 38]


def test_the_legend_says_what_the_colours_mean() -> None:
    """Of attention its scale, of vectors the components; of nothing nothing."""
    places = np.array([(1000, 500), (1200, 500)])
    attention = squares(places, measurements=np.array([(1, 0.5), (2, 1.0)]))
    shown = tile_colors(a_scan("slide", attention))
    assert shown is not None
    assert shown.ends == ("least attention", "most attention (rank among the tiles)")
    vectors = squares(places, features=np.eye(2, 3, dtype=np.float32))
    shown = tile_colors(a_scan("embeddings", vectors))
    assert shown is not None
    assert "principal components as red, green and blue" in shown.meaning
    none = squares(np.empty((0, 2)))
    assert tile_colors(a_scan("slide", none)) is None
    assert tile_colors(a_result()) is None
    assert drawn(a_scan("embeddings", none)).shape == (AREA.height * SCALE, AREA.width * SCALE, 3)


def colours_of(vectors: Floats) -> Pixels:
    tiles = squares(np.zeros((len(vectors), 2)), features=vectors.astype(np.float32))
    return component_colors(Embeddings(tiles, vectors.shape[1], "float32", "uni"))


def test_similar_vectors_have_similar_colours() -> None:
    """Two groups far apart differ in red, the first component; within one they do not."""
    random = np.random.default_rng(0)
    vectors = random.normal(0, 0.01, (2 * SAMPLES + 7, 40))
    vectors[::2, 5] += 9
    colours = colours_of(vectors).astype(int)
    assert colours.shape == (len(vectors), 3)
    groups = colours[::2, 0], colours[1::2, 0]
    assert min(group.max() - group.min() for group in groups) < 5
    assert groups[0].min() > groups[1].max() + 150
    assert np.array_equal(colours_of(vectors), colours)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_tiles_have_colours_too(count: int) -> None:
    """What does not vary is in the middle of its scale."""
    assert colours_of(np.ones((count, 8))).tolist() == [[138, 138, 138]] * count


def test_a_vector_of_one_number_is_a_scale_of_red() -> None:
    """There is one component alone."""
    colours = colours_of(np.linspace(0, 1, 50)[:, None])
    assert colours[0].tolist() == [40, 138, 138]
    assert colours[-1].tolist() == [235, 138, 138]
