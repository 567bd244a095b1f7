"""From evidence to nuclei: which pixels belong to which marker, and the line around them. One tile, on the CPU.

A nucleus is known by its marker, and depends on pixels no farther than 90 px from it: a pixel belongs to a marker at
most 20 px away, whose rivals lie at most 20 px beyond; a rival's own evidence reaches 45 px (background 43, median 2);
opening and cutting reach 5 px.
"""

from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.geometry.frame import Floats, Pixels

MICRONS2_PER_PX: Final = 0.25
_REACH_PX: Final = 20  # 10 um: no pixel of a nucleus lies farther from its marker
_FOLD: Final = 2.5  # DAB densities that differ by more than this factor are two nuclei
_FOLD_OD: Final = 0.1  # added to both, so that traces of DAB do not count
_DEVIATION_PX: Final = 0.6  # how far a simplified outline may leave the pixels' edge
_STEPS_PER_PX: Final = 1024  # coordinates are whole steps, so that they add up alike on every tile
_CHAMFER: Final = 5  # the mask size with which OpenCV also names the nearest marker

Bits = NDArray[np.bool_]
Densities = NDArray[np.float32]
Labels = NDArray[np.int32]


class Nuclei(NamedTuple):
    """N nuclei in tile pixels: markers (x, y), outlines (open rings), mean DAB densities."""

    centres: Floats
    outlines: tuple[Floats, ...]
    dab: Floats


def outline(dark: Pixels, peaks: Bits, dab: Densities, min_um2: float, max_um2: float) -> Nuclei:
    """Give every marker its pixels and draw the line around them; what is too small or too large is left out."""
    inside = cv2.medianBlur(dark, 5) > 0
    seeds = peaks.repeat(2, axis=0).repeat(2, axis=1) & inside
    labels = _nearest_marker(seeds, inside)
    _drop_other_stain(labels, seeds, dab)
    cores = _parted(labels)
    owned = np.where(cores, labels, 0)
    mean_dab = _means(owned, dab, int(labels.max()) + 1)
    low_px, high_px = min_um2 / MICRONS2_PER_PX, max_um2 / MICRONS2_PER_PX
    rings, markers = _largest_rings(cores, owned), _markers(seeds, labels)
    found = sorted(
        label for label in rings.keys() & markers.keys() if low_px <= rings[label][0] <= high_px
    )
    centres = np.array([markers[label] for label in found], np.float64).reshape(-1, 2)
    return Nuclei(centres, tuple(_simplified(rings[label][1]) for label in found), mean_dab[found])


def _nearest_marker(seeds: Bits, inside: Bits) -> Labels:
    """The number of the nearest marker for every pixel inside nuclei and in reach, 0 elsewhere."""
    empty = np.where(seeds, 0, 1).astype(np.uint8)
    if not seeds.any():
        return np.zeros(seeds.shape, np.int32)
    away, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, _CHAMFER, labelType=cv2.DIST_LABEL_CCOMP
    )
    labels[(away > _REACH_PX) | ~inside] = 0
    return np.asarray(labels, np.int32)


def _drop_other_stain(labels: Labels, seeds: Bits, dab: Densities) -> None:
    """Take away, in place, the pixels whose DAB is far from their marker's: they are part of another nucleus."""
    at_marker = np.zeros(int(labels.max()) + 1, np.float32)
    at_marker[labels[seeds]] = dab[seeds]
    y, x = labels.nonzero()
    here = dab[y, x].clip(0) + _FOLD_OD
    marker = at_marker[labels[y, x]].clip(0) + _FOLD_OD
    other = np.maximum(here, marker) > _FOLD * np.minimum(here, marker)
    labels[y[other], x[other]] = 0


def _parted(labels: Labels) -> Bits:
    """The labelled pixels with a gap of one pixel between nuclei, and without hairs."""
    apart = labels > 0
    height, width = labels.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - dy, max(-dx, 0) : width - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : width + min(dx, 0)]
        apart[here] &= (labels[here] == labels[there]) | (labels[there] == 0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return np.asarray(cv2.morphologyEx(apart.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0)


def _means(labels: Labels, values: Densities, count: int) -> Floats:
    size = np.bincount(labels.ravel(), minlength=count)
    total = np.bincount(labels.ravel(), values.ravel(), minlength=count)
    return np.asarray(total / np.maximum(size, 1))


def _largest_rings(cores: Bits, labels: Labels) -> dict[int, tuple[float, NDArray[Any]]]:
    """For every label the pixels inside and the ring of border pixels of its largest part."""
    rings, _ = cv2.findContours(cores.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    # Pick's theorem: a polygon through pixel centres holds its area + half its border + 1 of them.
    sized = [(cv2.contourArea(ring) + len(ring) / 2 + 1, ring[:, 0]) for ring in rings]
    sized.sort(key=lambda one: one[0])
    return {int(labels[ring[0, 1], ring[0, 0]]): (size, ring) for size, ring in sized}


def _markers(seeds: Bits, labels: Labels) -> dict[int, tuple[int, int]]:
    """The place of each marker: the first of its pixels at half size, as the corner the four full pixels share."""
    y, x = seeds.nonzero()
    found, first = np.unique(labels[y, x], return_index=True)
    return {
        int(label): (2 * int(x[n] // 2) + 1, 2 * int(y[n] // 2) + 1)
        for label, n in zip(found, first, strict=True)
        if label
    }


def _simplified(ring: NDArray[Any]) -> Floats:
    """The ring with few points, along the edges of its border pixels, in continuous coordinates."""
    few = cv2.approxPolyDP(ring, _DEVIATION_PX, closed=True)[:, 0]
    whole = len(set(map(tuple, few.tolist()))) == len(few) >= 4
    chosen = few if whole else cv2.convexHull(ring)[:, 0]
    return _outwards(np.asarray(chosen, np.float64) + 0.5, 0.5)


def _outwards(ring: Floats, by_px: float) -> Floats:
    """The ring with every side moved outwards: OpenCV's runs through the centres of the border pixels."""
    following = np.roll(ring, -1, axis=0)
    sides = following - ring
    turn = np.sign((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())
    normals = (
        turn
        * np.column_stack([sides[:, 1], -sides[:, 0]])
        / np.linalg.norm(sides, axis=1, keepdims=True)
    )
    before = np.roll(normals, 1, axis=0)
    # at a corner both sides move; a needle's tip would move far, so no corner moves more than at a right angle
    spread = np.maximum(1 + (normals * before).sum(axis=1, keepdims=True), 1)
    moved = by_px * (normals + before) / spread
    return np.asarray(ring + np.round(moved * _STEPS_PER_PX) / _STEPS_PER_PX)
