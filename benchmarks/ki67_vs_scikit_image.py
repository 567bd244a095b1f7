"""Measures `ki67` against the same analysis written with scikit-image, on the same tiles in memory.

Ours gets a halo around each tile, as in the pipeline: 41 % more pixels, which do not count. As in
the pipeline, there are as many threads as cores, and each takes one tile after another.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.comparison import Comparison
from broker.settings.config import AlgorithmSettings
from demo.slide import make_sample_slide
from worker.algorithms import registry
from worker.algorithms.builtin.cards import ki67_card
from worker.algorithms.interface import TileClassifier
from worker.geometry.frame import Pixels
from worker.geometry.roi import resolve_roi
from worker.geometry.tile_grid import tile_grid
from worker.inference import tissue
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.inference.tile_inference import SAMPLE_TILES
from worker.process.cgroup_limits import granted_cores
from worker.slides.slide import Slide

OURS = "ours"
ALONE = "scikit-image, one process"
MANY = "scikit-image, a process for each core"
MIN_AREA_PX = 40
MIN_DISTANCE_PX = 7
POSITIVE_DAB = 0.05


def measure(rounds: int, tiles: int, report: Callable[[str], None]) -> list[Comparison]:
    """Return megapixels per second, measured in turns."""
    pixels = _tissue_tiles(tiles)
    classifier = _classifier(pixels)
    cores = granted_cores()
    edge_px = ki67_card().tile_px
    spawned = multiprocessing.get_context("spawn")
    taken: dict[str, list[float]] = {OURS: [], ALONE: [], MANY: []}
    with ProcessPoolExecutor(cores, mp_context=spawned) as pool:
        ways: dict[str, Callable[[Sequence[Pixels]], int]] = {
            OURS: lambda some: _ours(classifier, some, cores),
            ALONE: lambda some: sum(map(by_scikit_image, _cores(some))),
            MANY: lambda some: sum(pool.map(by_scikit_image, _cores(some))),
        }
        for way in ways.values():
            way(list(pixels[:cores]))
        for number in range(1, rounds + 1):
            report(f"ki67 on {len(pixels)} tiles of {edge_px} px, round {number} of {rounds}")
            for name, way in ways.items():
                began = perf_counter()
                found = way(list(pixels))
                taken[name].append(len(pixels) * edge_px**2 / 1e6 / (perf_counter() - began))
                report(f"  {name}: {found:,} nuclei, {taken[name][-1]:.2f} Mpx/s")
    return [
        Comparison(
            "ki67, pixels to outlines",
            "Mpx/s",
            median(taken[OURS]),
            name,
            median(taken[name]),
            tuple(ours / theirs for ours, theirs in zip(taken[OURS], taken[name], strict=True)),
        )
        for name in (ALONE, MANY)
    ]


def _tissue_tiles(tiles: int) -> Pixels:
    """Return tiles with halo, spread over the tissue of the sample slide."""
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as folder:
        path = Path(folder) / "slide.svs"
        make_sample_slide(path, 12_000, 9_000)
        with Slide.open(path) as slide:
            grid = tissue.tissue_tiles(
                slide, tile_grid(resolve_roi(None, slide.frame), slide.frame, ki67_card())
            )
            chosen = [grid.tiles[n] for n in np.linspace(0, len(grid.tiles) - 1, tiles).astype(int)]
            edge = grid.read_px
            return np.stack(
                [
                    slide.read(t.x - grid.halo_px, t.y - grid.halo_px, edge, edge, 1, 1)
                    for t in chosen
                ]
            )


def _classifier(pixels: Pixels) -> TileClassifier:
    algorithm = registry.load(
        "ki67", {"ki67": AlgorithmSettings(kind="ki67")}, {}, "cpu", max_batch_bytes=MAX_BATCH_BYTES
    )
    assert algorithm.works_on == "tiles"
    classifier = algorithm.calibrate(pixels[:SAMPLE_TILES])
    registry.set_compute_threads(1)
    return classifier


def _ours(classifier: TileClassifier, tiles: Sequence[Pixels], cores: int) -> int:
    """Return the number of nuclei outside the halos."""
    with ThreadPoolExecutor(cores) as pool:
        return sum(
            pool.map(lambda tile: _in_core(classifier.classify(tile[None])[0].centres), tiles)
        )


def _in_core(centres: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> int:
    card = ki67_card()
    inside = (centres >= card.halo_px) & (centres < card.halo_px + card.tile_px)
    return int(inside.all(axis=1).sum())


def _cores(pixels: Sequence[Pixels]) -> list[Pixels]:
    halo = ki67_card().halo_px
    return [np.ascontiguousarray(tile[halo:-halo, halo:-halo]) for tile in pixels]


def by_scikit_image(tile: Pixels) -> int:
    """Separate stains, apply Otsu and watershed, and find outline and stain of every nucleus."""
    from scipy import ndimage
    from skimage.color import rgb2hed
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.measure import find_contours, regionprops
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import watershed

    stains = rgb2hed(tile)
    blue = gaussian(stains[..., 0], 1)
    brown = stains[..., 2]
    inside = remove_small_objects(blue > threshold_otsu(blue), max_size=MIN_AREA_PX)
    away = ndimage.distance_transform_edt(inside)
    markers = np.zeros(away.shape, np.int32)
    peaks = peak_local_max(away, min_distance=MIN_DISTANCE_PX, labels=ndimage.label(inside)[0])
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    nuclei = regionprops(watershed(-away, markers, mask=inside), intensity_image=brown)
    found = [
        (
            find_contours(np.pad(nucleus.image, 1), 0.5)[0] + nucleus.bbox[:2],
            nucleus.intensity_mean > POSITIVE_DAB,
        )
        for nucleus in nuclei
    ]
    return len(found)
