"""Checks of an algorithm that works on tiles, each on drawn tiles whose answers must agree."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from worker.algorithms.interface import TileAlgorithm, TileClassifier
from worker.algorithms.networks.network_checks import batch_difference
from worker.commands.drawn_picture import draw_tissue
from worker.geometry.frame import Floats, Pixels
from worker.results.objects import Objects
from worker.results.words import counted

State = Literal["ok", "warning", "failed"]
_BATCH_TOLERANCE: Final = 1e-3
_SPEED_S: Final = 1.0
_SEAM_PX: Final = 2.0
"""By how much the centre of an object may differ from tile to tile, as in merging."""
_LEAST_AGREEMENT: Final = 0.999
_LEAST_OBJECTS_AGREEMENT: Final = 0.95
_WHITE: Final = 255


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a check: what was looked at, how it is, and the number that was measured."""

    name: str
    state: State
    text: str
    value: float | None = None
    lines: tuple[str, ...] = ()
    """The traceback of code of the site that raised."""

    def as_dict(self) -> dict[str, Any]:
        """Return the step as check.json has it."""
        fields: dict[str, Any] = {
            "name": self.name,
            "state": self.state,
            "text": self.text,
            "value": self.value,
        }
        if self.lines:
            fields["lines"] = list(self.lines)
        return fields


class TileChecks:
    """The checks of one algorithm, which was calibrated on a drawn picture."""

    def __init__(self, algorithm: TileAlgorithm) -> None:
        card = algorithm.card
        self._output = card.output
        self._core_px = card.tile_px
        self._halo_px = card.halo_px
        self._edge_px = card.tile_px + 2 * card.halo_px
        self._batch_tiles = algorithm.batch_tiles
        self._shift_px = max(1, card.tile_px // 2)
        self._picture = draw_tissue(self._edge_px + self._shift_px, card.mpp or 1.0)
        core = self._picture[None, : card.tile_px, : card.tile_px]
        self._classifier: TileClassifier = algorithm.calibrate(np.ascontiguousarray(core))

    def of_network(self) -> Iterator[Step]:
        """Yield every step."""
        yield self.speed()
        yield self.batch()
        yield self.softmax()
        yield self.halo()
        yield self.edge()

    def of_code(self) -> Iterator[Step]:
        """Yield the steps for code of a site, whose probabilities nobody activates."""
        yield self.speed()
        yield self.batch()
        yield self.halo()
        yield self.edge()

    def speed(self) -> Step:
        """Measure how many tiles of a full batch are classified in a second."""
        tile = self._tile(0)
        batch = np.repeat(tile[None], self._batch_tiles, axis=0)
        began_at = time.monotonic()
        tiles = 0
        while time.monotonic() - began_at < _SPEED_S:
            self._classifier.classify(batch.copy())
            tiles += len(batch)
        per_s = tiles / (time.monotonic() - began_at)
        text = f"{per_s:.1f} tiles/s in batches of {self._batch_tiles}"
        return Step("speed", "ok", text, round(per_s, 2))

    def batch(self) -> Step:
        """Compare a batch of 3 tiles with 3 batches of 1; of 2 where batches are no larger."""
        name = "batch of 3 = 3 of 1"
        if self._batch_tiles == 1:
            return Step(name, "ok", "not looked for: every batch is of 1 tile")
        difference = batch_difference(self._classifier, self._edge_px, self._batch_tiles)
        if difference <= _BATCH_TOLERANCE:
            return Step(name, "ok", f"they differ by {difference:.2g} at most", difference)
        text = f"they differ by {difference:.2g}: an answer depends on the other tiles of its batch"
        value = None
        if np.isfinite(difference):
            value = difference
        return Step(name, "failed", text, value)

    def softmax(self) -> Step:
        """Look whether probabilities look like the softmax of probabilities."""
        name = "softmax twice"
        if self._output not in ("tiles", "mask"):
            return Step(name, "ok", "not looked for: the output has no classes that exclude others")
        answer = np.asarray(self._classifier.classify(self._tile(0)[None]), np.float64)
        if answer.ndim < 2 or answer.shape[1] < 2 or not _is_distribution(answer):
            return Step(name, "ok", "not looked for: the probabilities are of single classes")
        # log(softmax(q)) is q and a constant: with the sum of 1 that a distribution has, q again
        logs = np.log(np.maximum(answer, 1e-12))
        scores = logs + (1 - logs.sum(axis=1, keepdims=True)) / answer.shape[1]
        if scores.min() >= -_BATCH_TOLERANCE:
            text = "softmax twice? The network seems to answer probabilities: set activation none"
            return Step(name, "warning", text)
        return Step(name, "ok", "the network answers scores, or its probabilities as they are")

    def halo(self) -> Step:
        """Compare a tile with one that is shifted by half a core, where both cores are."""
        name = "halo"
        if self._output not in ("objects", "mask"):
            return Step(name, "ok", f"{self._halo_px} px; an answer is of its tile alone")
        first = self._classifier.classify(self._tile(0)[None])
        second = self._classifier.classify(self._tile(self._shift_px)[None])
        if isinstance(first, list) and isinstance(second, list):
            share = self._objects_alike(first[0], second[0])
            least = _LEAST_OBJECTS_AGREEMENT
        else:
            share = self._pixels_alike(np.asarray(first)[0], np.asarray(second)[0])
            least = _LEAST_AGREEMENT
        text = (
            f"{100 * share:.1f} % of a shifted tile is the same with a halo of {self._halo_px} px"
        )
        if share >= least:
            return Step(name, "ok", text, round(share, 4))
        return Step(name, "failed", f"{text}: raise halo_px", round(share, 4))

    def edge(self) -> Step:
        """Look for objects on the white that fills a tile beyond the edge of a slide."""
        name = "edge of the slide"
        if self._output != "objects":
            return Step(name, "ok", "not looked at: the output has no objects")
        tile = self._tile(0)
        middle = self._edge_px // 2
        tile[:, middle:] = _WHITE
        (found,) = self._classifier.classify(tile[None])
        on_white = int((found.centres[:, 0] > middle + self._margin_px()).sum())
        if on_white:
            text = f"{counted(on_white, 'object')} on white, where no slide is"
            return Step(name, "failed", text, on_white)
        return Step(name, "ok", "no object lies on white", 0)

    def _margin_px(self) -> float:
        return max(_SEAM_PX, self._edge_px / 32)

    def _tile(self, at: int) -> Pixels:
        """Return a copy of the tile at (at, at) of the picture, halo included."""
        end = at + self._edge_px
        return self._picture[at:end, at:end].copy()

    def _objects_alike(self, first: Objects, second: Objects) -> float:
        """Return the share of objects that both tiles have, within what both cores show."""
        low = self._shift_px + self._halo_px + _SEAM_PX
        high = self._halo_px + self._core_px - _SEAM_PX
        ours = _between(first.centres, low, high)
        theirs = second.centres + self._shift_px
        alike = sum(_has_near(theirs, centre) for centre in ours)
        alike += sum(_has_near(first.centres, one) for one in _between(theirs, low, high))
        total = len(ours) + len(_between(theirs, low, high))
        if not total:
            return 1.0
        return alike / total

    def _pixels_alike(self, first: Floats, second: Floats) -> float:
        """Return the share of pixels of the same class, within what both cores show."""
        classes = [_classes(answer) for answer in (first, second)]
        crop = 0
        stride = max(1, round(self._edge_px / classes[0].shape[0]))
        if stride == 1:
            crop = (self._edge_px - classes[0].shape[0]) // 2
        low = (self._shift_px + self._halo_px - crop) // stride
        high = (self._halo_px + self._core_px - crop) // stride
        shift = self._shift_px // stride
        ours = classes[0][low:high, low:high]
        theirs = classes[1][low - shift : high - shift, low - shift : high - shift]
        return float((ours == theirs).mean())


def _is_distribution(answer: Floats) -> bool:
    return bool(np.abs(answer.sum(axis=1) - 1).max() <= _BATCH_TOLERANCE)


def _classes(answer: Floats) -> Floats:
    if answer.ndim == 2:
        return answer
    if len(answer) == 1:
        return np.asarray(answer[0] >= 0.5)
    return np.asarray(answer.argmax(axis=0))


def _between(centres: Floats, low: float, high: float) -> Floats:
    return centres[((centres >= low) & (centres < high)).all(axis=1)]


def _has_near(centres: Floats, centre: Floats) -> bool:
    return bool((np.abs(centres - centre) <= _SEAM_PX).all(axis=1).any())
