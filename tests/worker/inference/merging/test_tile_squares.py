"""Squares of tiles: smoothing over tiles that were read, thresholds, background, overlap."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.decoded_networks import a_card, a_class
from worker.algorithms.decoders.tiles import TilesDecoder
from worker.algorithms.output_settings import TilesSettings
from worker.geometry.frame import Area, Floats, Frame
from worker.geometry.tile_grid import Grid, Tiles
from worker.inference.merging.merger import Merged
from worker.inference.merging.squares import TileSquares
from worker.results.object_store import ObjectStore
from worker.results.objects import Objects, joined

COLUMNS, ROWS = 5, 4
NAMES = ("a", "b")


def a_grid(indices: list[int] | None = None, overlap: float = 0) -> Grid:
    """Tiles of 10 px at twice the size of level 0; all of 5 x 4 unless `indices` says which."""
    numbers = np.arange(COLUMNS * ROWS) if indices is None else np.array(indices)
    step = 20 - overlap
    tiles = Tiles(100, 200, step, step, COLUMNS, numbers, overlap, overlap)
    return Grid(Area(100, 200, 100, 80), 10, 0, 2.0, 2.0, tiles, int(overlap / 2))


def squares(
    folder: Path, grid: Grid, probabilities: Any, classes: Any = NAMES, **changed: Any
) -> tuple[ObjectStore, ObjectStore]:
    """What is placed, in three goes, and what is delivered."""
    merger = TileSquares(grid, a_card(*classes, output="tiles"), TilesSettings(**changed))
    found = ObjectStore.begin(folder / "found")
    values = np.asarray(probabilities, float)
    for tiles in np.array_split(np.arange(len(values)), 3):
        batch = [grid.tiles[int(number)] for number in tiles]
        if batch:
            found.append(merger.place(batch, values[tiles]))
    return found, merger.finish(found).objects


def of(store: ObjectStore) -> Objects:
    return joined(list(store.chunks()))


def two(likely: Floats) -> Floats:
    """Probabilities of two classes, of which the first is as likely."""
    return np.stack([likely, 1 - likely], axis=1)


def test_without_settings_the_squares_stay_where_they_are(tmp_path: Path) -> None:
    """The very store, to which nothing is done."""
    found, delivered = squares(tmp_path, a_grid(), two(np.linspace(0, 1, 20)))
    assert delivered is found
    with_background = (a_class("a"), a_class("b", 1, background=True))
    found, delivered = squares(
        tmp_path / "2", a_grid(), two(np.linspace(0, 1, 20)), with_background
    )
    assert delivered is found


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_smoothing_is_the_mean_over_the_tiles_that_were_read(tmp_path: Path, reach: int) -> None:
    """Within so many rows and columns, where some tiles are glass."""
    random = np.random.default_rng(reach)
    indices = sorted(random.choice(COLUMNS * ROWS, 13, replace=False).tolist())
    likely = random.random(13).astype(np.float32).astype(float)
    _, delivered = squares(tmp_path, a_grid(indices), two(likely), smooth=reach)
    for number, found in zip(indices, of(delivered).probabilities, strict=True):
        row, column = divmod(number, COLUMNS)
        near = [
            value
            for other, value in zip(indices, likely, strict=True)
            if abs(other // COLUMNS - row) <= reach and abs(other % COLUMNS - column) <= reach
        ]
        assert found[0] == pytest.approx(np.mean(near), abs=1e-6)


def test_smoothing_may_change_the_class_and_keeps_what_all_agree_on(tmp_path: Path) -> None:
    """One odd tile among its neighbours takes their class; equal tiles stay to the last bit."""
    likely = np.full(20, np.float32(0.3), float)
    likely[7] = 0.9
    _, delivered = squares(tmp_path / "odd", a_grid(), two(likely), smooth=1)
    assert of(delivered).classes.tolist() == [1] * 20
    third = np.full(20, np.float32(1 / 3), float)
    _, same = squares(tmp_path / "same", a_grid(), third[:, None], ["a"], smooth=5)
    assert set(of(same).scores.tolist()) == {float(np.float32(1 / 3))}


def test_many_tiles_are_smoothed_chunk_by_chunk(tmp_path: Path) -> None:
    """More than a chunk of them; a slope stays a slope but at its ends."""
    count = 10_000
    tiles = Tiles(0, 0, 20, 20, 100, np.arange(count))
    grid = Grid(Area(0, 0, 2000, 2000), 10, 0, 2.0, 2.0, tiles)
    slope = (np.arange(count) % 100 / 128).astype(float)
    _, delivered = squares(tmp_path, grid, two(slope), smooth=2)
    smoothed = of(delivered).probabilities[:, 0].reshape(100, 100)
    assert smoothed[:, 2:-2] == pytest.approx(slope.reshape(100, 100)[:, 2:-2], abs=1e-6)
    assert smoothed[50, 0] == pytest.approx(1 / 128, abs=1e-6)


def test_below_the_threshold_a_tile_is_background_or_left_out(tmp_path: Path) -> None:
    """With several classes; 0.6 in float32 is no less than 0.6."""
    likely = np.array([0.9, 0.55, np.float32(0.6), 0.1], float)
    grid = a_grid([0, 1, 2, 3])
    _, left_out = squares(tmp_path / "1", grid, two(likely), threshold=0.6)
    assert of(left_out).centres[:, 0].tolist() == [110, 150, 170]
    other = (a_class("a"), a_class("b", 1), a_class("other", 2, background=True))
    three = np.column_stack([likely, 0.9 - likely, np.full(4, 0.1)])
    _, marked = squares(tmp_path / "2", grid, three, other, threshold=0.6)
    assert of(marked).classes.tolist() == [0, 2, 0, 1]
    assert of(marked).scores == pytest.approx([0.9, 0.1, 0.6, 0.8], abs=1e-6)
    _, without = squares(tmp_path / "3", grid, three, other, threshold=0.6, keep_background=False)
    assert of(without).classes.tolist() == [0, 0, 1]


def test_one_class_has_a_threshold_of_a_half(tmp_path: Path) -> None:
    """Tiles below are delivered only with `keep_background`."""
    likely = np.array([0.5, 0.49, 0.8])[:, None]
    grid = a_grid([0, 1, 2])
    _, every = squares(tmp_path / "1", grid, likely, ["tumor"])
    assert len(every) == 3
    _, positive = squares(tmp_path / "2", grid, likely, ["tumor"], keep_background=False)
    assert of(positive).scores == pytest.approx([0.5, 0.8], abs=1e-6)
    _, sure = squares(tmp_path / "3", grid, likely, ["tumor"], keep_background=False, threshold=0.7)
    assert of(sure).scores == pytest.approx([0.8], abs=1e-6)


def test_tiles_of_the_background_count_although_they_are_left_out(tmp_path: Path) -> None:
    """A share is one of the tissue, not of what is delivered; no class at all is not no tissue."""
    classes = (a_class("a"), a_class("b", 1, background=True))
    likely = two(np.array([0.9, 0.4, 0.3]))
    merged = finished(tmp_path / "1", likely, classes, keep_background=False)
    assert len(merged.objects) == 1
    assert merged.counts == [1, 2]
    assert not merged.headline
    none = finished(tmp_path / "2", likely, NAMES, threshold=0.95)
    assert none.counts == [0, 0]
    assert none.headline == "none of 3 tiles is of a class, with these thresholds"


def test_tiles_that_are_not_of_the_only_class_count_too(tmp_path: Path) -> None:
    """Its share is one of the tissue, delivered or not; after smoothing it is that of the means."""
    likely = np.array([0.9, 0.4, 0.3, 0.5])[:, None]
    for number, changed in enumerate(({}, {"keep_background": False})):
        merged = finished(tmp_path / str(number), likely, ["tumor"], **changed)
        assert merged.counts == [2, 2]
    smoothed = finished(tmp_path / "smoothed", likely, ["tumor"], smooth=1, threshold=0.6)
    assert smoothed.counts == [1, 3]
    decoder = TilesDecoder(a_card("tumor", output="tiles"), TilesSettings(), "auto", "float32")
    frame = Frame(100, 100, 1.0, 1.0, "slide")
    summary, headline = decoder.summarise([2, 2], frame, Area(0, 0, 100, 100))
    assert summary["tiles"] == 4
    assert summary["tiles_by_class"] == {"tumor": 2}
    assert summary["share_by_class"] == {"tumor": 0.5}
    assert headline == "4 tiles: tumor 50.0 %"


def finished(folder: Path, probabilities: Floats, classes: Any, **changed: Any) -> Merged:
    grid = a_grid(list(range(len(probabilities))))
    merger = TileSquares(grid, a_card(*classes, output="tiles"), TilesSettings(**changed))
    found = ObjectStore.begin(folder / "found")
    found.append(merger.place(list(grid.tiles), probabilities))
    return merger.finish(found)


def test_finishing_again_answers_the_same(tmp_path: Path) -> None:
    """After a loss in the middle of it, of which a half store is left."""
    grid = a_grid()
    merger = TileSquares(grid, a_card(*NAMES, output="tiles"), TilesSettings(smooth=1))
    found = ObjectStore.begin(tmp_path / "found")
    found.append(merger.place(list(grid.tiles), two(np.linspace(0, 1, 20))))
    first = of(merger.finish(found).objects)
    second = of(merger.finish(found).objects)
    assert len(first) == len(second) == 20
    assert first.probabilities.tolist() == second.probabilities.tolist()


def test_overlapping_tiles_are_overlapping_squares(tmp_path: Path) -> None:
    """As WSInfer's: a square is the tile's core, the next one begins a step further."""
    _, delivered = squares(tmp_path, a_grid(overlap=8), two(np.linspace(0, 1, 20)))
    outlines = of(delivered).outlines
    assert outlines[0].tolist() == [[100, 200], [120, 200], [120, 220], [100, 220]]
    assert outlines[1][0].tolist() == [112, 200]
    assert outlines[COLUMNS][0].tolist() == [100, 212]


def test_nothing_that_was_read_is_a_result(tmp_path: Path) -> None:
    """A slide of glass alone has no squares."""
    _, delivered = squares(tmp_path, a_grid([]), np.empty((0, 2)), smooth=3, threshold=0.5)
    assert len(delivered) == 0
