"""Averages the answers of overlapping tiles and decides the class of each pixel."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker.orders.algorithm_card import AlgorithmCard
from worker.algorithms.output_settings import MaskSettings
from worker.geometry.frame import Floats
from worker.inference.merging.mask.pixel_grid import PixelGrid

Values = NDArray[np.uint16]
"""(H, W): 0 for background, else the number of the class plus 1."""
NO_CLASS: Final = 0

_Answer = NDArray[Any]
_Place = tuple[int, int]
"""Row and column of a block."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one tile answers for a block: the rows and columns of its core from `top` and `left`.

    It begins at the block's top left corner. `answer`: (K, h, w) probabilities or (h, w) numbers.
    """

    top: int
    left: int
    answer: _Answer


@dataclass(frozen=True, slots=True)
class BlockAnswer:
    """What is known of the pixels of a block.

    `values`: (H, W). `probabilities`: (K, H, W) of every class, or None where the network answers
    class numbers. `is_known`: (H, W), False where no tile was read.
    """

    row: int
    column: int
    values: Values
    probabilities: NDArray[np.float32] | None
    is_known: NDArray[np.bool_]


class Blending:
    """The answers for blocks to which tiles to come may add."""

    def __init__(self, pixels: PixelGrid, card: AlgorithmCard, settings: MaskSettings) -> None:
        self.pixels = pixels
        self._weights = pixels.core_weights()
        self._pending: dict[_Place, list[_Piece]] = {}
        self._threshold = settings.threshold
        if self._threshold is None and len(card.classes) == 1:
            self._threshold = 0.5
        kept = [not entry.background for entry in card.classes]
        numbers = np.arange(1, len(kept) + 1)
        self._values = np.where(kept, numbers, NO_CLASS).astype(np.uint16)

    def add(self, row: int, column: int, core: _Answer) -> None:
        """Add what a tile answers for its core: (K, core, core) or (core, core)."""
        step = self.pixels.step
        for down, top in enumerate(range(0, self.pixels.core, step)):
            for right, left in enumerate(range(0, self.pixels.core, step)):
                place = (row + down, column + right)
                height, width = self.pixels.block_shape(*place)
                if height > 0 and width > 0:
                    # a copy: the rest of the answer may be freed
                    answer = core[..., top : top + height, left : left + width].copy()
                    self._pending.setdefault(place, []).append(_Piece(top, left, answer))

    def finished(self, row: int, column: int) -> Iterator[BlockAnswer]:
        """Yield and forget the blocks that no tile after this one adds to, row by row."""
        for place in sorted(self._pending):
            if place <= (row, column):
                yield self._blended(place, self._pending.pop(place))

    def state(self) -> bytes:
        """Return everything that is pending."""
        numbers: list[tuple[int, ...]] = []
        answers: dict[str, _Answer] = {}
        for place, pieces in self._pending.items():
            for piece in pieces:
                answers[f"answer{len(numbers)}"] = piece.answer
                numbers.append((*place, piece.top, piece.left))
        file = io.BytesIO()
        answers["numbers"] = np.array(numbers, np.int64).reshape(-1, 4)
        np.savez(file, allow_pickle=False, **answers)
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Take over what was pending."""
        with np.load(io.BytesIO(state)) as stored:
            for number, (row, column, top, left) in enumerate(stored["numbers"].tolist()):
                piece = _Piece(top, left, stored[f"answer{number}"])
                self._pending.setdefault((row, column), []).append(piece)

    def _blended(self, place: _Place, pieces: Sequence[_Piece]) -> BlockAnswer:
        shape = self.pixels.block_shape(*place)
        if pieces[0].answer.ndim == 2:
            return self._nearest(place, shape, pieces)
        if len(pieces) == 1 and pieces[0].answer.shape[1:] == shape:
            mean = pieces[0].answer
            is_known = np.ones(shape, np.bool_)
        else:
            mean, is_known = self._averaged(shape, pieces)
        return BlockAnswer(*place, self._classified(mean, is_known), mean, is_known)

    def _averaged(
        self, shape: tuple[int, int], pieces: Sequence[_Piece]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the weighted mean of the pieces, (K, H, W), and where there is any.

        In double precision, so that the mean of one piece is that piece.
        """
        total = np.zeros((len(pieces[0].answer), *shape))
        total_weight = np.zeros(shape)
        for piece in pieces:
            weights = self._weights_of(piece)
            rows, columns = weights.shape
            total[:, :rows, :columns] += piece.answer * weights
            total_weight[:rows, :columns] += weights
        is_known = total_weight > 0
        mean = total / np.where(is_known, total_weight, 1)
        return mean.astype(np.float32), is_known

    def _nearest(
        self, place: _Place, shape: tuple[int, int], pieces: Sequence[_Piece]
    ) -> BlockAnswer:
        """Return the class numbers of the tile with the largest weight; of two equal, the first."""
        values = np.zeros(shape, np.uint16)
        largest = np.zeros(shape)
        for piece in pieces:
            weights = self._weights_of(piece)
            rows, columns = weights.shape
            is_larger = weights > largest[:rows, :columns]
            values[:rows, :columns][is_larger] = self._values[piece.answer[is_larger]]
            largest[:rows, :columns][is_larger] = weights[is_larger]
        return BlockAnswer(*place, values, None, largest > 0)

    def _weights_of(self, piece: _Piece) -> Floats:
        rows, columns = piece.answer.shape[-2:]
        down = self._weights[piece.top : piece.top + rows]
        right = self._weights[piece.left : piece.left + columns]
        return down[:, None] * right

    def _classified(
        self, probabilities: NDArray[np.float32], is_known: NDArray[np.bool_]
    ) -> Values:
        """Return the likeliest class of each pixel; of two equal, the first."""
        largest = probabilities[0].copy()
        values = np.full(largest.shape, self._values[0])
        # class by class: argmax over the first axis takes several times as long
        for number in range(1, len(probabilities)):
            is_larger = probabilities[number] > largest
            values[is_larger] = self._values[number]
            np.maximum(largest, probabilities[number], out=largest)
        values[~is_known] = NO_CLASS
        if self._threshold is not None:
            values[largest < self._threshold] = NO_CLASS
        return values
