"""Turns the evidence of one tile into nuclei: assigns pixels to markers and outlines them.

A nucleus depends on pixels no farther than 90 px from its marker: a pixel belongs to a marker at
most 20 px away; competing markers lie at most 20 px beyond the pixel; the evidence of a competing
marker depends on pixels within 45 px (background 43, median 2); opening and dividing reach 5 px.
"""

import operator
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.algorithms.builtin.ki67.arrays import Floats, Pixels

MICRONS2_PER_PX: Final = 0.25
_REACH_PX: Final = 20  # 10 um: no pixel of a nucleus lies farther from its marker
_FOLD: Final = 2.5  # DAB densities that differ by more than this factor are two nuclei
_FOLD_OD: Final = 0.1  # added to both densities, so that traces of DAB do not count
_DEVIATION_PX: Final = 0.6  # how far a simplified outline may leave the edge of the pixels
_STEPS_PER_PX: Final = 1024  # coordinates are whole steps, so that all tiles add them up alike
_CHAMFER: Final = 5  # the mask size with which OpenCV also labels the nearest marker

Bits = NDArray[np.bool_]
Densities = NDArray[np.float32]
Labels = NDArray[np.int32]


class Nuclei(NamedTuple):
    """N nuclei of one tile, in pixels of the tile.

    `centres`: (N, 2), the markers, x and y. `outlines`: N open rings, (K, 2) each. `dab`: (N,), the
    mean DAB density.
    """

    centres: Floats
    outlines: tuple[Floats, ...]
    dab: Floats


def outline_nuclei(
    dark: Pixels, peaks: Bits, dab: Densities, min_um2: float, max_um2: float
) -> Nuclei:
    """Assign pixels to every marker and outline them.

    `dark`, `peaks` and `dab` are the evidence of one tile. Nuclei smaller than `min_um2` or larger
    than `max_um2`, in square microns, are left out.
    """
    inside = cv2.medianBlur(dark, 5) > 0
    seeds = peaks.repeat(2, axis=0).repeat(2, axis=1) & inside
    labels = _nearest_marker(seeds, inside)
    _drop_other_stain(labels, seeds, dab)
    cores = _separated(labels)
    core_labels = np.where(cores, labels, 0)
    mean_dab = _means(core_labels, dab, int(labels.max()) + 1)
    parts = _largest_parts(cores, core_labels)
    markers = _markers(seeds, labels)
    low_px = min_um2 / MICRONS2_PER_PX
    high_px = max_um2 / MICRONS2_PER_PX
    found = [
        label
        for label in sorted(parts.keys() & markers.keys())
        if low_px <= parts[label][0] <= high_px
    ]
    centres = np.array([markers[label] for label in found], np.float64).reshape(-1, 2)
    outlines = tuple(_simplified(parts[label][1]) for label in found)
    return Nuclei(centres, outlines, mean_dab[found])


def _nearest_marker(seeds: Bits, inside: Bits) -> Labels:
    """Return the label of the nearest marker for every pixel inside nuclei, 0 elsewhere.

    It is also 0 where no marker lies within `_REACH_PX`.
    """
    empty = np.where(seeds, 0, 1).astype(np.uint8)
    if not seeds.any():
        return np.zeros(seeds.shape, np.int32)
    away, labels = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, _CHAMFER, labelType=cv2.DIST_LABEL_CCOMP
    )
    labels[(away > _REACH_PX) | ~inside] = 0
    return np.asarray(labels, np.int32)


def _drop_other_stain(labels: Labels, seeds: Bits, dab: Densities) -> None:
    """Set to 0, in place, the labels of pixels whose DAB differs a lot from their marker's.

    They belong to another nucleus.
    """
    at_marker = np.zeros(int(labels.max()) + 1, np.float32)
    at_marker[labels[seeds]] = dab[seeds]
    y, x = labels.nonzero()
    pixel = dab[y, x].clip(0) + _FOLD_OD
    marker = at_marker[labels[y, x]].clip(0) + _FOLD_OD
    other = np.maximum(pixel, marker) > _FOLD * np.minimum(pixel, marker)
    labels[y[other], x[other]] = 0


def _separated(labels: Labels) -> Bits:
    """Return the labelled pixels with a gap of one pixel between nuclei, and without hairs."""
    apart = labels > 0
    height, width = labels.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        pixels = np.s_[: height - dy, max(-dx, 0) : width - max(dx, 0)]
        neighbours = np.s_[dy:, max(dx, 0) : width + min(dx, 0)]
        same = labels[pixels] == labels[neighbours]
        apart[pixels] &= same | (labels[neighbours] == 0)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return np.asarray(cv2.morphologyEx(apart.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0)


def _means(labels: Labels, values: Densities, count: int) -> Floats:
    """Return the mean of the values for each of `count` labels; 0 where a label has no pixel."""
    size = np.bincount(labels.ravel(), minlength=count)
    total = np.bincount(labels.ravel(), values.ravel(), minlength=count)
    return np.asarray(total / np.maximum(size, 1))


def _largest_parts(cores: Bits, labels: Labels) -> dict[int, tuple[float, NDArray[Any]]]:
    """Return, by label, the size in pixels and the border pixels of its largest part."""
    rings, _ = cv2.findContours(cores.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    parts = [(_size_px(ring), ring[:, 0]) for ring in rings]
    parts.sort(key=operator.itemgetter(0))
    # later, that is larger, parts replace smaller ones of the same label
    return {int(labels[ring[0, 1], ring[0, 0]]): (size_px, ring) for size_px, ring in parts}


def _size_px(ring: NDArray[Any]) -> float:
    """Return the pixels inside a ring through pixel centres, its own included.

    Pick's theorem: that is the ring's area + half of its border pixels + 1.
    """
    return float(cv2.contourArea(ring) + len(ring) / 2 + 1)


def _markers(seeds: Bits, labels: Labels) -> dict[int, tuple[int, int]]:
    """Return, by label, the position (x, y) of each marker.

    It is the first of its pixels at half size, as the corner that the four full pixels share.
    """
    y, x = seeds.nonzero()
    found, first = np.unique(labels[y, x], return_index=True)
    markers = {}
    for label, number in zip(found, first, strict=True):
        if label:
            markers[int(label)] = (2 * int(x[number] // 2) + 1, 2 * int(y[number] // 2) + 1)
    return markers


def _simplified(ring: NDArray[Any]) -> Floats:
    """Return the ring with few points, along the outer edges of its border pixels."""
    points = cv2.approxPolyDP(ring, _DEVIATION_PX, closed=True)[:, 0]
    distinct = set(map(tuple, points.tolist()))
    if len(points) < 4 or len(distinct) < len(points):
        points = cv2.convexHull(ring)[:, 0]
    return _outwards(np.asarray(points, np.float64) + 0.5, 0.5)


def _outwards(ring: Floats, by_px: float) -> Floats:
    """Return the ring with every side moved outwards.

    OpenCV's ring runs through the centres of the border pixels.
    """
    following = np.roll(ring, -1, axis=0)
    sides = following - ring
    turn = np.sign((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())
    lengths = np.linalg.norm(sides, axis=1, keepdims=True)
    normals = turn * np.column_stack([sides[:, 1], -sides[:, 0]]) / lengths
    previous = np.roll(normals, 1, axis=0)
    # At a corner both sides move. The tip of a needle would move far, so no corner moves more than
    # one of a right angle.
    spread = np.maximum(1 + (normals * previous).sum(axis=1, keepdims=True), 1)
    moved = by_px * (normals + previous) / spread
    return np.asarray(ring + np.round(moved * _STEPS_PER_PX) / _STEPS_PER_PX)
