"""Pictures of sections in other stains than H-DAB, and of spoilt ones, at 0.5 um per pixel."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from tests.support.tissue_sections import photograph, section
from worker.geometry.frame import Floats, Pixels
from worker.inference.quality.sample_pixels import EOSIN, HAEMATOXYLIN


def mixed(haematoxylin: Floats, other: Floats, vector: tuple[float, float, float]) -> Pixels:
    """Return what two stains of these densities leave of white light (Beer and Lambert)."""
    vectors = np.array([HAEMATOXYLIN, vector])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    light = 255 * 10 ** -(np.stack([haematoxylin, other], axis=-1) @ vectors)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)


def nuclei(size_px: int = 512) -> Floats:
    """Return 1 in soft round nuclei of 6 um on a grid, 0 between them."""
    y, x = np.mgrid[:size_px, :size_px]
    inside = ((x % 40 - 20) ** 2 + (y % 40 - 20) ** 2 < 40).astype(np.float64)
    return np.asarray(cv2.GaussianBlur(inside, (0, 0), 0.8))


def uneven(size_px: int = 512, seed: int = 1) -> Floats:
    """Return smooth noise from 0 to 1, as the texture of tissue."""
    rough = np.random.default_rng(seed).random((32, 32))
    smooth = cv2.resize(rough, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(smooth, np.float64)


def h_and_e() -> Pixels:
    """Blue nuclei in pink tissue."""
    return mixed(0.6 * nuclei(), 0.15 + 0.25 * uneven(), EOSIN)


def haematoxylin_alone() -> Pixels:
    """A Ki-67 section without any positive nucleus."""
    return mixed(0.03 + 0.4 * nuclei(), np.zeros((512, 512)), EOSIN)


def fluorescence() -> Pixels:
    """Blue nuclei that shine on a dark background."""
    picture = np.full((512, 512, 3), 4, np.uint8)
    picture[..., 2] = 4 + (230 * nuclei()).astype(np.uint8)
    picture[..., 1] = 4 + (40 * nuclei()).astype(np.uint8)
    return picture


def unstained() -> Pixels:
    """Tissue that is only a little darker than the glass around it."""
    light = np.array([243, 242, 240]) - uneven()[..., None] * np.array([16, 18, 24])
    light[:64] = 243
    return np.asarray(light, np.uint8)


def grey() -> Pixels:
    """An H-DAB section without its colours."""
    return np.repeat(section(1).pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def blurred() -> Pixels:
    """The photograph, out of focus."""
    return np.asarray(cv2.GaussianBlur(photograph(), (0, 0), 3), np.uint8)


def folded() -> Pixels:
    """The photograph with a band in which tissue lies twice."""
    light = photograph().astype(np.float64)
    density = -np.log10((light[:, 40:140] + 1) / 256)
    twice = density + np.roll(density, 37, axis=0) + 0.3
    light[:, 40:140] = 256 * 10**-twice - 1
    return np.clip(light, 0, 255).astype(np.uint8)


def marked(colour: tuple[int, int, int]) -> Pixels:
    """The photograph with a line of a pen, through which a little light passes."""
    picture = photograph()
    picture[100:200] = (0.9 * np.array(colour) + 0.1 * picture[100:200]).astype(np.uint8)
    return picture


def marked_h_and_e(colour: tuple[int, int, int]) -> Pixels:
    """H&E with a line of a pen, through which a little light passes."""
    picture = h_and_e()
    picture[100:200] = (0.9 * np.array(colour) + 0.1 * picture[100:200]).astype(np.uint8)
    return picture


def haemorrhage() -> Pixels:
    """H&E with a lake of crowded erythrocytes of 7 um, orange-red as they are."""
    picture = h_and_e()
    random = np.random.default_rng(3)
    densities = np.full((512, 512), 0.3)
    for x, y in random.integers(0, 512, (2600, 2)):
        cv2.circle(densities, (int(x), int(y)), 7, float(random.uniform(0.5, 0.85)), -1)
    densities = cv2.GaussianBlur(densities, (0, 0), 1)
    vector = -np.log10(np.array([215, 95, 80]) / 255)
    vector /= np.linalg.norm(vector)
    picture[100:300] = (255 * 10 ** -(densities[..., None] * vector))[100:300].astype(np.uint8)
    return picture


MISMATCHES: Mapping[str, Callable[[], Pixels]] = {
    "H&E": h_and_e,
    "fluorescence": fluorescence,
    "unstained": unstained,
    "grey": grey,
}
"""What `ki67` must not count in, by the name that a look at it gives."""
