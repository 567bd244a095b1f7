"""The PNG encoder: what it writes is what other programs read."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from worker.geometry.frame import Pixels
from worker.results import png

RNG = np.random.default_rng(7)


def noise(height_px: int, width_px: int) -> Pixels:
    """Return random pixels."""
    return RNG.integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        noise(1, 1),
        noise(1, 300),
        noise(300, 1),
        noise(257, 129),
        np.zeros((400, 300, 3), np.uint8),
        noise(20, 30).repeat(8, axis=0).repeat(8, axis=1),
        noise(90, 80)[10:70, ::2],
    ],
    ids=["pixel", "row", "column", "noise", "black", "enlarged", "slice"],
)
def test_other_programs_read_the_same_pixels(picture: Pixels) -> None:
    """Pillow and OpenCV decode every pixel as it was, and their checks of the chunks pass."""
    for level in (png.FASTEST, 2):
        check(picture, png.encode(picture, level))


def check(picture: Pixels, encoded: bytes) -> None:
    """Assert that both read this picture."""
    Image.open(io.BytesIO(encoded)).verify()
    with Image.open(io.BytesIO(encoded)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), picture)
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(decoded, picture)


def test_an_enlarged_picture_takes_little_more_than_the_small_one() -> None:
    """Rows that repeat cost next to nothing."""
    small = noise(100, 100)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert len(png.encode(large)) < 2.5 * len(png.encode(small))
