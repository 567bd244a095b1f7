"""Checks of a loaded network on tiles that are drawn here, before it works on slides."""

from collections.abc import Callable
from typing import Final

import numpy as np

from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.decoders.probabilities import TOLERANCE
from worker.algorithms.interface import TileAnswers, TileClassifier
from worker.algorithms.model_folder.model_file import TilesModel
from worker.geometry.frame import Floats, Pixels
from worker.results.objects import Objects

# Black, white, and what sections look like: pink, purple, brown, green, red, blue.
_PLAIN_PROBES: Final = (
    (0, 0, 0), (255, 255, 255), (230, 170, 200), (120, 80, 150), (140, 90, 50), (60, 140, 70),
    (255, 0, 0), (0, 0, 255),
)  # fmt: skip
_NOISE_PROBES: Final = 8
BATCH_TILES: Final = 3
"""Tiles of the batch that is compared with batches of a single tile."""


def check_is_no_probability(raw_answer: Callable[[Pixels], Floats], model: TilesModel) -> None:
    """Raise AlgorithmAnswerError if the network answers probabilities where scores are needed.

    `raw_answer` returns what the network answers for N tiles, (N, classes). A second softmax or
    sigmoid would draw all probabilities towards each other, unnoticed. The scores of a network lie
    between 0 and 1 for some tiles, but not for tiles of all kinds.
    """
    classes = len(model.classes)
    is_default = model.activation == "auto"
    if model.activation == "none" or not (is_default or classes > 1):
        return
    answers = np.concatenate([raw_answer(tile[None]) for tile in drawn_tiles(model.input_px)])
    if answers.min() < -TOLERANCE or answers.max() > 1 + TOLERANCE:
        return
    has_sums_of_1 = bool(np.abs(answers.sum(axis=1) - 1).max() <= TOLERANCE)
    if classes > 1 and has_sums_of_1:
        raise AlgorithmAnswerError(
            "activation: softmax twice? The network answers probabilities that add up to 1 for "
            f"all of {len(answers)} test tiles, so it ends in a softmax, and another one would "
            'falsify them; state "activation": "none"'
        )
    if is_default:
        applied = "softmax"
        if classes == 1 or model.multi_label:
            applied = "sigmoid"
        raise AlgorithmAnswerError(
            f"activation: the network answers numbers from 0 to 1 alone for all of {len(answers)} "
            "test tiles, so it seems to end in a sigmoid, and another activation would falsify "
            'them; state "activation": "none" if they are probabilities that '
            f'add up to 1, else "{applied}"'
        )


def batch_difference(
    classifier: TileClassifier, input_px: int, batch_tiles: int = BATCH_TILES
) -> float:
    """Return by how much the answers for a batch differ from those for batches of 1 tile.

    The batch has `BATCH_TILES`, or as many as the network is ever given. Of objects their centres
    and scores are compared. Infinity where the numbers of them differ.
    """
    tiles = drawn_tiles(input_px)[-min(BATCH_TILES, batch_tiles) :]
    together = classifier.classify(tiles.copy())
    difference = 0.0
    for number, tile in enumerate(tiles):
        alone = _numbers(classifier.classify(tile[None].copy()), 0)
        beside = _numbers(together, number)
        if alone.shape != beside.shape:
            return float("inf")
        difference = max(difference, float(np.abs(alone - beside).max(initial=0)))
    return difference


def _numbers(answers: TileAnswers, tile: int) -> Floats:
    """Return the numbers that are answered for one tile."""
    answer = answers[tile]
    if isinstance(answer, Objects):
        return np.column_stack([answer.centres, answer.scores, answer.classes])
    return np.asarray(answer, np.float64)


def drawn_tiles(edge: int) -> Pixels:
    """Return tiles (N, edge, edge, 3) of many kinds: plain ones, noise, and coarse patches."""
    random = np.random.default_rng(0)
    tiles = np.empty((len(_PLAIN_PROBES) + _NOISE_PROBES, edge, edge, 3), np.uint8)
    tiles[: len(_PLAIN_PROBES)] = np.array(_PLAIN_PROBES, np.uint8)[:, None, None, :]
    for number in range(_NOISE_PROBES):
        patch = 2**number
        patches = -(-edge // patch)
        noise = random.integers(0, 256, (patches, patches, 3), dtype=np.uint8)
        coarse = noise.repeat(patch, axis=0).repeat(patch, axis=1)
        tiles[len(_PLAIN_PROBES) + number] = coarse[:edge, :edge]
    return tiles
