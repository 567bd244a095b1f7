"""Makes objects of heat maps, whose peaks are the centres of objects."""

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.answers import check_count, required_tensor
from worker.algorithms.decoders.geometry import crop_px
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.probabilities import (
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Floats, Ints
from worker.results.objects import Objects

_HEAT: Final = "heat"
_SQUARE: Final = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2


class CentresDecoder:
    """Turns heat maps (N, K, h, w), or (N, h, w) of a single class, into objects.

    A peak is a pixel of at least the threshold that none of its 8 neighbours exceeds. Neighbours
    that are equal are one peak, at the mean of their pixels. The outline is a square of
    `object_um`.
    """

    def __init__(
        self, card: AlgorithmCard, settings: ObjectsSettings, activation: Activation
    ) -> None:
        if card.mpp is None:
            raise ValueError("mpp: the size of a mark in pixels depends on it")
        self._classes = len(card.classes)
        self._input_px = card.tile_px + 2 * card.halo_px
        self._stride = settings.output_stride
        self._threshold = settings.least_score
        self._square_px = _SQUARE * (settings.object_um / card.mpp)
        # Heat maps are no distribution over classes: a place may be cold in all of them.
        self._activation = activation
        if activation == "auto":
            self._activation = "sigmoid"

    def decode(self, answers: Answers, tiles: int) -> list[Objects]:
        """Return the objects of each tile, class by class in reading order."""
        answered = required_tensor(answers, _HEAT, tiles)
        shape = tuple(answered.shape)
        if answered.ndim == 3:
            answered = answered[:, None]
        if answered.ndim != 4 or answered.shape[1] != self._classes:
            raise AlgorithmAnswerError(
                f"outputs.{_HEAT} has shape {shape}; classes says {self._classes} channels"
            )
        crop = crop_px(_HEAT, shape, self._input_px, self._stride)
        # tile by tile, so that the device needs no more memory for a large batch
        return [self._objects(answered[number : number + 1], crop) for number in range(tiles)]

    def _objects(self, answered: Tensor, crop: int) -> Objects:
        """Return the objects of one tile, given what was answered for it, (1, K, h, w)."""
        heat = activated(float_tensor(_HEAT, answered), self._activation)
        if self._activation == "none":
            check_range(_HEAT, heat)  # what an activation makes is in range
        is_peak = (heat >= self._threshold) & (heat == _highest_around(heat))
        values = heat[0].cpu().numpy()
        masks = is_peak[0].to(torch.uint8).cpu().numpy()
        centres = [np.empty((0, 2))]
        scores = [np.empty(0)]
        classes = [np.empty(0, np.int64)]
        for number in range(self._classes):
            places, heights = _peaks(masks[number], values[number])
            centres.append(places)
            scores.append(heights)
            classes.append(np.full(len(places), number))
        centres_px = np.concatenate(centres) * self._stride + crop
        check_count(_HEAT, len(centres_px))
        return Objects(
            centres=centres_px,
            outlines=tuple(centres_px[:, None] + self._square_px),
            classes=np.concatenate(classes),
            scores=np.concatenate(scores),
        )


def _highest_around(heat: Tensor) -> Tensor:
    """Return the highest of each pixel (..., h, w) and its 8 neighbours.

    By rows, then by columns: max_pool2d takes ten times as long on a CPU.
    """
    of_rows = heat.clone()
    of_rows[..., 1:] = torch.maximum(of_rows[..., 1:], heat[..., :-1])
    of_rows[..., :-1] = torch.maximum(of_rows[..., :-1], heat[..., 1:])
    highest = of_rows.clone()
    highest[..., 1:, :] = torch.maximum(highest[..., 1:, :], of_rows[..., :-1, :])
    highest[..., :-1, :] = torch.maximum(highest[..., :-1, :], of_rows[..., 1:, :])
    return highest


def _are_apart(pixels: Ints, width: int) -> bool:
    """Return whether no two of the pixels, flat numbers in rising order, are neighbours.

    The last pixel of a row and the first ones of the next may count as neighbours.
    """
    if not len(pixels):
        return True
    for step in (1, width - 1, width, width + 1):
        ahead = pixels + step
        places = np.searchsorted(pixels, ahead).clip(max=len(pixels) - 1)
        if (pixels[places] == ahead).any():
            return False
    return True


def _peaks(
    mask: NDArray[np.uint8], heat: NDArray[np.float32]
) -> tuple[Floats, NDArray[np.float64]]:
    """Return the places of the peaks of one map, (P, 2), x and y, and their heights, (P,).

    Adjacent pixels of the mask are equally hot, since neither exceeds the other.
    """
    alone = np.flatnonzero(mask)
    if _are_apart(alone, mask.shape[1]):
        rows, columns = np.divmod(alone, mask.shape[1])
        heights = heat.ravel()[alone].astype(np.float64)
        return np.stack([columns, rows], axis=1) + 0.5, heights
    count, numbers, _, centroids = cv2.connectedComponentsWithStats(
        mask, connectivity=8, ltype=cv2.CV_32S
    )
    flat = numbers.ravel()
    pixels = np.flatnonzero(flat)
    first_pixels = np.zeros(count, np.int64)
    # of repeated indices the last assignment counts, which is the first pixel
    first_pixels[flat[pixels[::-1]]] = pixels[::-1]
    order = np.argsort(first_pixels[1:]) + 1
    heights = heat.ravel()[first_pixels[order]].astype(np.float64)
    return np.asarray(centroids[order] + 0.5), heights
