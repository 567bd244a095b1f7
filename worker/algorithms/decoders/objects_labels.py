"""Makes objects of label maps, in which all pixels of one object have its number."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.answers import (
    check_classes,
    check_count,
    required_tensor,
    whole_numbers,
)
from worker.algorithms.decoders.geometry import crop_px
from worker.algorithms.decoders.interface import Answers
from worker.algorithms.decoders.label_parts import Parts
from worker.algorithms.decoders.probabilities import (
    Activation,
    activated,
    check_range,
    float_tensor,
)
from worker.algorithms.output_settings import ObjectsSettings
from worker.geometry.frame import Ints
from worker.results.objects import Objects, joined, outlines

_LABELS = "labels"
_CLASSES = "classes"
_SCORES = "scores"


class LabelsDecoder:
    """Turns label maps (N, h, w) or (N, L, h, w) into objects.

    Of a number in several unconnected parts the largest is the object; its centre is the centroid
    of its pixels. The class is that of the layer where the settings name layers, else of the
    role `classes`: the commonest inside, or the one with the highest mean probability.
    """

    def __init__(
        self, card: AlgorithmCard, settings: ObjectsSettings, activation: Activation
    ) -> None:
        names = [entry.name for entry in card.classes]
        for layer in settings.layers:
            if layer not in names:
                raise ValueError(f"layers: {layer} is the name of no class")
        self._classes = len(names)
        self._layers = [names.index(layer) for layer in settings.layers]
        self._input_px = card.tile_px + 2 * card.halo_px
        self._stride = settings.output_stride
        self._activation = activation

    def decode(self, answers: Answers, tiles: int) -> list[Objects]:
        """Return the objects of each tile, in reading order of each layer."""
        labels = required_tensor(answers, _LABELS, tiles)
        shape = tuple(labels.shape)
        if labels.ndim == 3:
            labels = labels[:, None]
        if labels.ndim != 4:
            raise AlgorithmAnswerError(
                f"outputs.{_LABELS} has shape {shape}; (tiles, h, w) or (tiles, layers, h, w) is "
                "required"
            )
        self._check_layers(shape, labels.shape[1])
        crop = crop_px(_LABELS, shape, self._input_px, self._stride)
        edges = shape[-2:]
        classes = self._class_maps(answers.get(_CLASSES), tiles, edges)
        scores = _score_maps(answers.get(_SCORES), tiles, edges)
        found = []
        for tile in range(tiles):
            # tile by tile, so that the device needs no more memory for a large batch
            numbers = whole_numbers(_LABELS, labels[tile]).cpu().numpy()
            marks = _Marks.of(classes, scores, tile, self._activation)
            found.append(self._tile(numbers, marks, crop))
        return found

    def _tile(self, labels: Ints, marks: "_Marks", crop: int) -> Objects:
        """Return the objects of one tile, whose label maps are (L, h, w)."""
        layers = [self._layer(layer, labels[layer], marks) for layer in range(len(labels))]
        whole = joined(layers)
        check_count(_LABELS, len(whole))
        # all points at once: there are hundreds of outlines in a tile
        points = np.concatenate([np.empty((0, 2)), *whole.outlines]) * self._stride + crop
        return replace(
            whole,
            centres=whole.centres * self._stride + crop,
            outlines=tuple(outlines(points, map(len, whole.outlines))),
            at_rim=np.concatenate([layer.at_rim for layer in layers]),
        )

    def _layer(self, number: int, labels: Ints, marks: "_Marks") -> Objects:
        """Return the objects of one label map, in pixels of the map."""
        parts = Parts.of(labels)
        chosen = parts.largest(labels)
        check_count(_LABELS, len(chosen))
        probabilities = np.empty((0, 0))
        classes = np.zeros(len(parts), np.int64)
        if self._layers:
            classes += self._layers[number]
        elif marks.class_shares is not None:
            probabilities = np.stack([parts.means(share) for share in marks.class_shares], axis=1)
            classes = probabilities.argmax(axis=1)
        elif marks.class_numbers is not None:
            classes = self._commonest(parts, marks.class_numbers)
        scores = np.ones(len(parts))
        if marks.scores is not None:
            scores = parts.means(marks.scores)
        elif probabilities.size:
            scores = probabilities.max(axis=1)
        if probabilities.size:
            probabilities = probabilities[chosen]
        return Objects(
            centres=parts.centroids()[chosen],
            outlines=tuple(parts.outlines(chosen)),
            classes=classes[chosen],
            scores=scores[chosen],
            probabilities=probabilities,
            at_rim=parts.at_rim()[chosen],
        )

    def _commonest(self, parts: Parts, class_numbers: Ints) -> Ints:
        """Return the class of most pixels of each part; of equally many the lowest number."""
        inside = class_numbers.ravel()[parts.pixels]
        check_classes(_CLASSES, inside, self._classes)
        pairs = parts.owners.astype(np.int64) * self._classes + inside
        votes = np.bincount(pairs, minlength=len(parts) * self._classes)
        return np.asarray(votes.reshape(len(parts), self._classes).argmax(axis=1))

    def _check_layers(self, shape: tuple[int, ...], layers: int) -> None:
        if self._layers and layers != len(self._layers):
            raise AlgorithmAnswerError(
                f"outputs.{_LABELS} has shape {shape}; layers names {len(self._layers)}"
            )
        if not self._layers and layers > 1:
            raise AlgorithmAnswerError(
                f"outputs.{_LABELS} has shape {shape}, which are {layers} layers; name the class "
                "of each in layers"
            )

    def _class_maps(self, answer: Any, tiles: int, edges: tuple[int, ...]) -> Tensor | None:
        """Return the scores of classes, (N, K, h, w), or numbers of classes, (N, h, w)."""
        if answer is None:
            return None
        if isinstance(answer, Tensor) and answer.is_floating_point() and answer.ndim == 4:
            _check_shape(_CLASSES, answer, (tiles, self._classes, *edges))
            return answer
        return _maps(_CLASSES, answer, tiles, edges)


@dataclass(frozen=True, slots=True)
class _Marks:
    """What else is answered for the pixels of a tile; None where the network does not tell.

    `class_numbers`: (h, w), the number of each pixel's class. `class_shares`: (K, h, w), how
    likely each class is. `scores`: (h, w).
    """

    class_numbers: NDArray[np.int64] | None = None
    class_shares: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls, classes: Tensor | None, scores: Tensor | None, tile: int, activation: Activation
    ) -> "_Marks":
        """Return what is answered for this tile."""
        numbers = None
        shares = None
        score_map = None
        if classes is not None and classes.ndim == 4:
            likely = activated(float_tensor(_CLASSES, classes[tile : tile + 1]), activation)
            check_range(_CLASSES, likely)
            shares = likely[0].cpu().numpy()
        elif classes is not None:
            numbers = whole_numbers(_CLASSES, classes[tile]).cpu().numpy()
        if scores is not None:
            answered = float_tensor(_SCORES, scores[tile])
            check_range(_SCORES, answered)
            score_map = answered.cpu().numpy()
        return cls(numbers, shares, score_map)


def _score_maps(answer: Any, tiles: int, edges: tuple[int, ...]) -> Tensor | None:
    if answer is None:
        return None
    return _maps(_SCORES, answer, tiles, edges)


def _maps(role: str, answer: Any, tiles: int, edges: tuple[int, ...]) -> Tensor:
    """Return one map for each tile, (N, h, w)."""
    if not isinstance(answer, Tensor):
        raise AlgorithmAnswerError(f"outputs.{role} is a {type(answer).__name__}, not a tensor")
    maps: Tensor = answer
    if maps.ndim == 4 and maps.shape[1] == 1:
        maps = maps.squeeze(1)
    _check_shape(role, maps, (tiles, *edges))
    return maps


def _check_shape(role: str, answer: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(answer.shape) != shape:
        raise AlgorithmAnswerError(
            f"outputs.{role} has shape {tuple(answer.shape)}; with labels and classes as they are "
            f"{shape} is required"
        )
