"""The overlay of a mask: tint, outline, holes, and the shares in the legend."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.masks import COLORS, MaskCase, mask_card, mask_result
from worker.results.files.geojson import rgb
from worker.results.overlay import drawing

TISSUE = (220, 150, 190)


def test_polygons_are_tinted_within_a_firm_outline_and_holes_are_clear(tmp_path: Path) -> None:
    """The tissue shows through the tint; a hole and what lies outside keep its colour."""
    pixels = np.zeros((100, 200), np.int64)
    pixels[20:80, 20:100] = 1
    pixels[40:60, 40:70] = 0
    pixels[20:80, 120:180] = 2
    case = MaskCase(pixels, mask_card(tile_px=64))
    result = mask_result(case, case.merged(tmp_path))
    picture = np.full((600, 1200, 3), TISSUE, np.uint8)
    with Image.open(io.BytesIO(drawing.draw(picture, result))) as opened:
        drawn = np.asarray(opened.convert("RGB")).astype(int)
    gland = np.array(rgb(COLORS[1]))
    for x, y in ((60, 60), (330, 300), (660, 300)):
        assert tuple(drawn[y, x]) == TISSUE
    inside = drawn[180, 180]
    assert (np.abs(inside - (0.7 * np.array(TISSUE) + 0.3 * gland)) <= 1).all()
    assert tuple(drawn[300, 900]) != tuple(inside)
    for x in (120, 240, 420, 600):
        nearest = np.abs(drawn[300, x - 2 : x + 3] - gland).sum(axis=1).min()
        assert nearest < 60
    assert drawn.shape[0] > 600  # the legend
