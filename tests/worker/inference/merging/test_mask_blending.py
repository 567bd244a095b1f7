"""Where cores overlap, probabilities are averaged with weights that add up to 1."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.masks import MaskCase, all_objects, mask_card
from worker.algorithms.output_settings import MaskSettings
from worker.inference.merging.mask.blending import Blending
from worker.inference.merging.mask.blocks import labelled
from worker.inference.merging.mask.pixel_grid import PixelGrid


def test_weights_fall_linearly_over_the_overlap() -> None:
    """Two tiles of 8 pixels that share 4, one that answers 0 and one that answers 1."""
    card = mask_card(("gland",), tile_px=8, overlap_px=4)
    pixels = PixelGrid(0, 1, 0, 4, 8, 12, 4, 1.0, 1.0)
    blending = Blending(pixels, card, MaskSettings())
    blending.add(0, 0, np.zeros((1, 8, 8), np.float32))
    blending.add(0, 1, np.ones((1, 8, 8), np.float32))
    blocks = list(blending.finished(0, 2))
    means = [block.probabilities for block in blocks if block.probabilities is not None]
    row = np.concatenate([mean[0, 0] for mean in means])
    assert row == pytest.approx([0, 0, 0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1, 1, 1])
    assert [block.values[0].tolist() for block in blocks] == [[0] * 4, [0, 0, 1, 1], [1] * 4]


def test_scores_are_the_mean_probability_of_the_class(tmp_path: Path) -> None:
    """Over all pixels of the polygon, those of filled holes too."""
    likely = np.full((3, 12, 12), 0.1, np.float32)
    likely[0] = 0.8
    likely[:, 2:10, 2:10] = np.array([0.2, 0.7, 0.1], np.float32)[:, None, None]
    likely[:, 4:6, 4:6] = np.array([0.6, 0.3, 0.1], np.float32)[:, None, None]
    case = MaskCase(likely, mask_card(tile_px=5))
    (score,) = all_objects(case.merged(tmp_path / "a")).scores
    assert score == pytest.approx(0.7)
    filled = replace(case, settings=MaskSettings(fill_holes_um2=5))
    (score,) = all_objects(filled.merged(tmp_path / "b")).scores
    assert score == pytest.approx((60 * 0.7 + 4 * 0.3) / 64)


def test_parts_of_a_block_are_numbered_by_value_and_first_pixel() -> None:
    """The sums in the file belong to these numbers, also on a machine with other threads."""
    values = np.random.default_rng(0).integers(0, 3, (200, 300)).astype(np.uint16)
    labels, value_of = labelled(values, with_background=True)
    first_places = [np.flatnonzero(labels == number + 1)[0] for number in range(len(value_of))]
    assert (np.diff(value_of.astype(int)) >= 0).all()
    for value in range(3):
        places = [place for place, own in zip(first_places, value_of, strict=True) if own == value]
        assert places == sorted(places)


def test_memory_does_not_grow_with_the_height_of_the_mask(tmp_path: Path) -> None:
    """A mask of four times the rows takes hardly more memory than a few rows."""
    rng = np.random.default_rng(1)
    strip = rng.integers(0, 3, (128, 64)).repeat(4, axis=1).repeat(4, axis=0)
    peaks = []
    for times in (1, 4):
        case = MaskCase(
            np.tile(strip, (times, 1)),
            mask_card(tile_px=32, overlap_px=4),
            MaskSettings(fill_holes_um2=20, min_area_um2=17),
        )
        grid = case.grid
        answers = case.answers(grid)
        merger = case.merger(tmp_path / str(times) / "merging")
        tracemalloc.start()
        for number, answer in enumerate(answers):
            merger.place([grid.tiles[number]], answer[None])
        merger.finish(case.found(tmp_path / str(times)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
