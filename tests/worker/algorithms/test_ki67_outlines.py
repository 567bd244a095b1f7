"""The nuclei of `ki67` as shapes: their outlines, and that the result does not depend on tiles."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.tissue_sections import (
    SETTINGS,
    Section,
    calibrated,
    found_in,
    matched,
    photograph,
    section,
)
from worker.algorithms import registry
from worker.algorithms.builtin.cards import ki67_card
from worker.algorithms.builtin.tile_model import BuiltinTiles
from worker.geometry.frame import Area, Floats, Frame, Pixels
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results.objects import Objects

FRAME = Frame(4000, 4000, 0.5, 0.5, "slide")
AREA = Area(0, 0, 2000, 1000)
CARD = ki67_card()


@pytest.fixture(scope="module")
def tissue() -> Pixels:
    return photograph()


@pytest.fixture(scope="module")
def spread_out() -> Section:
    return section(seed=1)


def mirrored(pixels: Pixels, edge: int) -> Pixels:
    return np.pad(
        pixels, ((0, edge - pixels.shape[0]), (0, edge - pixels.shape[1]), (0, 0)), mode="symmetric"
    )


def owned(
    found: Objects, at: tuple[int, int], core_px: int, halo_px: int
) -> dict[tuple[float, ...], tuple[Any, ...]]:
    """Everything about the objects of one tile's core, by their centre in the whole picture."""
    own = ((found.centres >= halo_px) & (found.centres < halo_px + core_px)).all(axis=1)
    move = np.array(at) - halo_px
    return {
        tuple(found.centres[n] + move): (
            (found.outlines[n] + move).tobytes(),
            found.classes[n],
            found.scores[n],
        )
        for n in np.flatnonzero(own)
    }


@pytest.mark.parametrize("picture", ["photograph", "made"])
def test_a_nucleus_is_the_same_in_every_tile(
    picture: str, tissue: Pixels, spread_out: Section
) -> None:
    """Nine tiles with halo give the nuclei of one large tile, to the last bit of outline and score,
    each once."""
    halo = CARD.halo_px
    core = 256
    whole = mirrored(tissue if picture == "photograph" else spread_out.pixels, 3 * core + 2 * halo)
    classifier = calibrated(whole)
    once = owned(classifier.classify(whole[None])[0], (halo, halo), 3 * core, halo)
    corners = [(x, y) for y in range(0, 3 * core, core) for x in range(0, 3 * core, core)]
    tiles = np.stack([whole[y : y + core + 2 * halo, x : x + core + 2 * halo] for x, y in corners])
    parts = [
        owned(found, (x + halo, y + halo), core, halo)
        for (x, y), found in zip(corners, classifier.classify(tiles), strict=True)
    ]
    assert sum(map(len, parts)) == len(once) > 300
    assert {centre: rest for part in parts for centre, rest in part.items()} == once


def test_threads_may_share_a_classifier(tissue: Pixels) -> None:
    """Four calls at a time give what one gives."""
    classifier = calibrated(tissue)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: classifier.classify(tissue[None])[0], range(4)))
    alone = classifier.classify(tissue[None])[0]
    assert all(np.array_equal(answer.centres, alone.centres) for answer in answers)


def crosses_itself(ring: Floats) -> bool:
    """Whether two sides of an open ring meet other than at the corner they share."""
    a = ring
    b = np.roll(ring, -1, axis=0)

    def side(p: Floats, q: Floats, r: Floats) -> Floats:
        cross = (q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]
        return np.sign(cross)

    p = a[:, None]
    q = b[:, None]
    r = a[None]
    s = b[None]
    return bool(((side(p, q, r) * side(p, q, s) < 0) & (side(r, s, p) * side(r, s, q) < 0)).any())


def test_outlines_are_simple_rings_around_their_centres(tissue: Pixels) -> None:
    """Four points or more, open, inside the picture, not crossing themselves, of the requested
    size."""
    found = found_in(tissue)
    assert len(found) > 300
    for ring in found.outlines:
        assert len(ring) >= 4
        assert not np.array_equal(ring[0], ring[-1])
        assert ring.min() >= 0 and ring.max() <= 512  # noqa: PT018
        assert not crosses_itself(ring)
        assert 2 <= cv2.contourArea(ring.astype(np.float32)) / 4 <= 300


def test_an_outline_follows_its_nucleus(spread_out: Section) -> None:
    """For 95 % of the nuclei the radius of the outlined disc is within one micron of the drawn
    one's."""
    found = found_in(spread_out.pixels)
    off_px = [
        np.sqrt(cv2.contourArea(found.outlines[mine].astype(np.float32)) / np.pi)
        - spread_out.radii_px[true]
        for true, mine in matched(found.centres, spread_out.centres).items()
    ]
    print(f"radius: {np.mean(off_px) / 2:+.2f} um on average")
    assert np.quantile(np.abs(off_px), 0.95) <= 2


def test_the_size_limits_hold(spread_out: Section) -> None:
    """Nuclei smaller than requested are left out."""
    everything = found_in(spread_out.pixels)
    large = found_in(spread_out.pixels, {"min_nucleus_um2": 50.0})
    assert 0 < len(large) < len(everything)


def test_no_samples_and_no_tiles_are_fine() -> None:
    """An area without tissue is classified to nothing."""
    algorithm = registry.load("ki67", SETTINGS, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES)
    assert isinstance(algorithm, BuiltinTiles)
    classifier = algorithm.calibrate(np.empty((0, 64, 64, 3), np.uint8))
    assert classifier.classify(np.empty((0, 64, 64, 3), np.uint8)) == []
