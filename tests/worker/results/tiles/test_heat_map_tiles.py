"""Classified tiles and attention as lattices of tiles for a viewer."""

from pathlib import Path

import numpy as np
import pytest

from broker.orders.algorithm_card import ClassCard
from tests.support.findings_tiles import FindingsReader
from tests.support.results import Drawn, a_card, a_result
from worker.geometry.frame import Area, Floats, Frame
from worker.results import result_folder
from worker.results.objects import Objects
from worker.results.result import Result

WIDE = Frame(9000, 5000, 0.25, 0.25, "slide")


def squares(edge_px: float, stride_px: float, probabilities: Floats, origin: float = 0) -> Objects:
    """Squares in rows of 12 with these probabilities, (N, classes)."""
    count = len(probabilities)
    places = origin + stride_px * np.stack([np.arange(count) % 12, np.arange(count) // 12], axis=1)
    outlines = places[:, None] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * edge_px
    return Objects(
        outlines.mean(axis=1),
        tuple(outlines),
        probabilities.argmax(axis=1),
        probabilities.max(axis=1),
        probabilities,
    )


def tiles_result(found: Objects, frame: Frame = WIDE, classes: int = 2) -> Result:
    names = [ClassCard(name=f"c{i}", color="#0072b2", annotation_type="x") for i in range(classes)]
    card = a_card("tiles").model_copy(update={"measurements": (), "classes": tuple(names)})
    return a_result(found, card=card, frame=frame, area=Area(0, 0, frame.width, frame.height))


def saved(folder: Path, result: Result) -> FindingsReader:
    result_folder.save(folder, result, Drawn(b"png"))
    frame = result.findings.frame
    return FindingsReader.of(folder / "findings.pmtiles", frame.width, frame.height)


def mean_at(found: Objects, x: float, y: float) -> Floats | None:
    """The mean probabilities of the squares that cover a point, by looking at each."""
    covering = [
        row
        for outline, row in zip(found.outlines, found.probabilities, strict=True)
        if (outline[0] <= (x, y)).all() and ((x, y) < outline[2]).all()
    ]
    if not covering:
        return None
    mean: Floats = np.mean(covering, axis=0)
    return mean


@pytest.mark.parametrize(
    ("edge_px", "stride_px", "cells"), [(448, 448, 32), (448.7, 300.3, 32), (1500, 701.5, 8)]
)
def test_a_cell_is_the_mean_of_the_squares_over_its_centre(
    tmp_path: Path, edge_px: float, stride_px: float, cells: int
) -> None:
    """Side by side, overlapping, and larger than a tile; nothing beside them."""
    probabilities = np.random.default_rng(2).dirichlet((1, 1), 60)
    found = squares(edge_px, stride_px, probabilities, origin=33.3)
    grids = saved(tmp_path / "r", tiles_result(found)).grids()
    rng = np.random.default_rng(4)
    finest = {place: grid for place, grid in grids.items() if place[0] == 4}
    assert {grid.values.shape for grid in finest.values()} == {(2, cells, cells)}
    for (_, x, y), grid in finest.items():
        assert grid.magic == "SLG1"
        assert grid.looked_at is not None
        for row, column in rng.integers(0, cells, (20, 2)):
            place = (np.array((x, y)) + np.array((column + 0.5, row + 0.5)) / cells) * 1024
            expected = mean_at(found, *place)
            if expected is None or (place >= (9000, 5000)).any():
                assert grid.looked_at[row, column] == 0
                continue
            assert grid.looked_at[row, column] == 255
            assert np.abs(grid.values[:, row, column] - 255 * expected).max() <= 0.51


def test_a_coarse_cell_is_the_mean_of_what_was_looked_at(tmp_path: Path) -> None:
    """A quarter of a cell that was looked at says how likely a class is there, and how much of the
    cell it is."""
    rng = np.random.default_rng(6)
    found = squares(448, 448, rng.dirichlet((1, 1), 100))
    grids = saved(tmp_path / "r", tiles_result(found)).grids()
    assert {zoom for zoom, _, _ in grids} == {0, 1, 2, 3, 4}
    for (zoom, x, y), grid in grids.items():
        if zoom == 4:
            continue
        assert grid.looked_at is not None
        for row, column in rng.integers(0, 32, (6, 2)):
            shares = np.zeros((3, 2, 2))
            for part in range(4):
                lower, right = divmod(part, 2)
                below = np.array((2 * row + lower, 2 * column + right))
                child = (zoom + 1, 2 * x + int(below[1] >= 32), 2 * y + int(below[0] >= 32))
                if child in grids:
                    inner = (slice(None), *(below % 32))
                    seen = grids[child].looked_at
                    assert seen is not None
                    shares[2, lower, right] = seen[tuple(below % 32)]
                    shares[:2, lower, right] = grids[child].values[inner] * shares[2, lower, right]
            total = shares[2].sum()
            assert abs(grid.looked_at[row, column] - total / 4) <= 2
            if total >= 255:
                expected = shares[:2].sum(axis=(1, 2)) / total
                assert np.abs(grid.values[:, row, column] - expected).max() <= 4


def test_each_square_is_an_outline_too(tmp_path: Path) -> None:
    """So that a pointer finds its number, class and score."""
    found = squares(448, 448, np.random.default_rng(2).dirichlet((1, 1), 100))
    drawn = list(saved(tmp_path / "r", tiles_result(found)).objects())
    assert sorted(one.number for one in drawn) == list(range(100))
    for one in drawn:
        assert np.abs(one.rings[0] - found.outlines[one.number]).max() <= 0.125
        assert abs(one.score - 255 * found.scores[one.number]) <= 0.5


def test_a_class_alone_is_as_likely_as_its_score(tmp_path: Path) -> None:
    """Where code answers no probabilities."""
    given = squares(448, 448, np.array([[0.1, 0.9], [0.8, 0.2]]))
    found = Objects(given.centres, given.outlines, given.classes, given.scores)
    grid = saved(tmp_path / "r", tiles_result(found)).grids()[4, 0, 0]
    assert grid.values[:, 0, 0].tolist() == [0, 230]
    assert grid.values[:, 0, 20].tolist() == [204, 0]


def test_squares_smaller_than_a_cell_are_not_lost(tmp_path: Path) -> None:
    """Each covers the cell that it lies in."""
    found = squares(9.3, 500, np.full((24, 1), 0.7), origin=100.2)
    grids = saved(tmp_path / "r", tiles_result(found, classes=1)).grids()
    finest = [grid for place, grid in grids.items() if place[0] == 4]
    assert {grid.stated for grid in finest} == {64}
    assert sum(int((grid.values == 178).sum()) for grid in finest) == 24


def test_tiles_of_a_classified_slide_show_the_rank_of_their_attention(tmp_path: Path) -> None:
    """As a class of its own."""
    given = squares(448, 448, np.ones((100, 1)))
    measured = np.stack([np.linspace(-7, 7, 100), np.linspace(0, 1, 100)], axis=1)
    found = Objects(
        given.centres, given.outlines, given.classes, given.scores, measurements=measured
    )
    update = {"measurements": ("attention", "attention_rank")}
    card = a_card("slide").model_copy(update=update)
    result = a_result(found, card=card, frame=WIDE, area=Area(0, 0, 9000, 5000))
    reader = saved(tmp_path / "r", result)
    scores = {one.number: one.score for one in reader.objects()}
    assert scores == {number: round(255 * number / 99) for number in range(100)}
    assert reader.grids()[4, 0, 0].values[0, 0, 20] == round(255 / 99)
    text = (tmp_path / "r" / "findings.json").read_text()
    assert '"name":"attention"' in text


def test_vectors_alone_have_nothing_to_draw(tmp_path: Path) -> None:
    """A document without classes, and an archive without tiles."""
    given = squares(448, 448, np.ones((100, 1)))
    found = Objects(given.centres, given.outlines, given.classes, given.scores)
    update = {"measurements": (), "classes": ()}
    card = a_card("embeddings").model_copy(update=update)
    result = a_result(found, card=card, frame=WIDE, summary={}, area=Area(0, 0, 9000, 5000))
    assert saved(tmp_path / "r", result).tiles == {}
    assert '"classes":[]' in (tmp_path / "r" / "findings.json").read_text()
