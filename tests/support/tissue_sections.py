"""Synthetic sections whose nuclei are known, and the comparison of found nuclei with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
from scipy.spatial import cKDTree

from broker.settings.config import AlgorithmSettings
from worker.algorithms import registry
from worker.algorithms.builtin.tile_model import BuiltinTiles
from worker.geometry.frame import Floats, Pixels
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results.objects import Objects

SETTINGS = {"ki67": AlgorithmSettings(kind="ki67"), "grid": AlgorithmSettings(kind="grid")}
MATCH_PX = 6  # 3 um
_REACH = 16


@dataclass(frozen=True)
class Section:
    """A picture at 0.5 um per pixel; `centres` (n, 2), `radii_px` and `positive` (n,) are what was
    drawn."""

    pixels: Pixels
    centres: Floats
    radii_px: Floats
    positive: np.ndarray


def section(
    seed: int,
    count: int = 150,
    size_px: int = 512,
    gap: float = 1.15,
    haematoxylin_of_positive: Any = (0.12, 0.28),
) -> Section:
    """Ellipses of 2.5 to 6 um radius, a third of them brown, on tissue of uneven stain, through
    Beer and Lambert."""
    rng = np.random.default_rng(seed)
    uneven = cv2.resize(rng.random((8, 8)), (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    blue = 0.04 + 0.05 * uneven
    brown = np.full((size_px, size_px), 0.03)
    places = _places(rng, count, size_px, gap)
    positive = rng.random(len(places)) < 0.35
    for (x, y, short, long), is_positive in zip(places, positive, strict=True):
        inside = _ellipse(short, long, rng.uniform(0, np.pi))
        texture = (1 + 0.45 * cv2.GaussianBlur(rng.standard_normal(inside.shape), (0, 0), 1.5))[
            inside
        ]
        window = np.s_[int(y) - _REACH : int(y) + _REACH + 1, int(x) - _REACH : int(x) + _REACH + 1]
        blue[window][inside] = (
            rng.uniform(*(haematoxylin_of_positive if is_positive else (0.22, 0.45))) * texture
        )
        brown[window][inside] = rng.uniform(*((0.35, 0.9) if is_positive else (0, 0.06))) * texture
    return Section(
        _stained(blue, brown, rng),
        places[:, :2] + 0.5,
        np.sqrt(places[:, 2] * places[:, 3]),
        positive,
    )


def _places(rng: np.random.Generator, count: int, size_px: int, gap: float) -> Floats:
    places: list[tuple[float, ...]] = []
    while len(places) < count:
        short = rng.uniform(5, 8)
        long = short * rng.uniform(1, 1.5)
        x, y = rng.integers(20, size_px - 20, 2)
        if all(np.hypot(x - px, y - py) >= (long + plong) * gap for px, py, _, plong in places):
            places.append((x, y, short, long))
    return np.array(places, np.float64)


def _ellipse(short: float, long: float, angle: float) -> np.ndarray:
    y, x = np.mgrid[-_REACH : _REACH + 1, -_REACH : _REACH + 1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return (along / long) ** 2 + (across / short) ** 2 <= 1


def _stained(blue: Floats, brown: Floats, rng: np.random.Generator) -> Pixels:
    vectors = np.array([[0.65, 0.70, 0.29], [0.27, 0.57, 0.78]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    density = cv2.GaussianBlur(np.stack([blue, brown], axis=-1), (0, 0), 0.8) @ vectors
    light = 255 * 10**-density + rng.normal(0, 2, density.shape)
    return np.clip(np.round(light), 0, 255).astype(np.uint8)


def photograph() -> Pixels:
    """FHL2 in DAB with haematoxylin, colon, 512 x 512, about 0.5 um per pixel; ships with
    scikit-image."""
    path = Path(skimage.__file__).parent / "data" / "ihc.png"
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1], np.uint8)


def calibrated(pixels: Pixels, parameters: Mapping[str, Any] | None = None) -> BuiltinTiles:
    algorithm = registry.load(
        "ki67", SETTINGS, parameters or {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES
    )
    assert isinstance(algorithm, BuiltinTiles)
    return algorithm.calibrate(pixels[None])


def found_in(pixels: Pixels, parameters: Mapping[str, Any] | None = None) -> Objects:
    """What `ki67` finds in one picture."""
    return calibrated(pixels, parameters).classify(pixels[None])[0]


def matched(found: Floats, true: Floats) -> dict[int, int]:
    """Pairs (number in `true`: number in `found`), nearest first, each used once, at most
    `MATCH_PX` apart."""
    away, nearest = cKDTree(true).query(found)
    pairs: dict[int, int] = {}
    for number in np.argsort(away):
        if away[number] <= MATCH_PX:
            pairs.setdefault(int(nearest[number]), int(number))
    return pairs
