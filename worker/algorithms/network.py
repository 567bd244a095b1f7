"""A trained network on one device: tiles in, probabilities of its classes out, all of them checked.

Nothing that is no probability leaves this module: neither another shape, nor NaN, nor what a second
softmax makes of probabilities.
"""

from collections.abc import Callable
from threading import local
from typing import Final

import numpy as np
import torch
from torch import Tensor

from worker.algorithms.answer_error import AlgorithmAnswerError
from worker.algorithms.model_folder import Description
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.memory import is_short_of_memory
from worker.geometry.frame import Floats, Pixels

_SUM_TOLERANCE: Final = 1e-3  # of the probabilities of one tile, which add up to 1
_WARM_UPS: Final = 3  # TorchScript observes two runs before it settles how it computes
_MESSAGE_CHARS: Final = 300
# Black, white, and what sections look like: pink, purple, brown, green, red, blue.
_PLAIN_PROBES: Final = (
    (0, 0, 0), (255, 255, 255), (230, 170, 200), (120, 80, 150), (140, 90, 50), (60, 140, 70),
    (255, 0, 0), (0, 0, 255),
)  # fmt: skip
_NOISE_PROBES: Final = 8


class Network:
    """A loaded network on one device, in one precision. Threads may share it."""

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        description: Description,
        device: Device,
        precision: torch.dtype,
    ) -> None:
        self._run = run
        self._device = device
        self._precision = precision
        self._edge = description.input_px
        self._classes = description.num_classes
        self._activation = description.applied_activation
        self._is_default = description.activation == "auto"
        self._buffers = local()
        mean, deviation = (
            torch.tensor(values).repeat(self._edge) for values in description.normalization
        )
        self._scale = (1 / (255 * deviation)).to(device.torch)
        self._shift = (-mean / deviation).to(device.torch)

    @torch.inference_mode()
    def __call__(self, batch: Pixels) -> Floats:
        """Return how likely each class is for each of N tiles (N, E, E, 3): (N, classes).

        Raises AlgorithmAnswerError where the network answers another shape, or no number.
        """
        with self._device.turn():
            answer = self._answer(batch)
            probabilities: Floats = self._activated(answer).double().cpu().numpy()
            all_finite = bool(torch.isfinite(answer).all())
        if not all_finite:
            raise AlgorithmAnswerError(
                f"the network answers NaN or infinity for a tile, computed in {self._precision}"
            )
        self._check_probabilities(probabilities)
        return probabilities

    def check_is_no_probability(self) -> None:
        """Raise AlgorithmAnswerError if the network answers probabilities where scores are needed.

        A second softmax or sigmoid would draw all of them towards each other, unnoticed. The scores
        of a network lie between 0 and 1 for some tiles, but not for tiles of all kinds.
        """
        if self._activation == "none" or not (self._is_default or self._classes > 1):
            return
        answers = np.concatenate([self._raw_answer(tile[None]) for tile in _probes(self._edge)])
        if answers.min() < -_SUM_TOLERANCE or answers.max() > 1 + _SUM_TOLERANCE:
            return
        has_sums_of_1 = bool(np.abs(answers.sum(axis=1) - 1).max() <= _SUM_TOLERANCE)
        if self._classes > 1 and has_sums_of_1:
            raise AlgorithmAnswerError(
                f"the network answers probabilities that add up to 1 for all of {len(answers)} "
                "test tiles, so it ends in a softmax, and another one would falsify them; state "
                '"activation": "none" in config.json'
            )
        if self._is_default:
            raise AlgorithmAnswerError(
                f"the network answers numbers from 0 to 1 alone for all of {len(answers)} test "
                "tiles, so it seems to end in a sigmoid, and another activation would falsify "
                'them; state in config.json "activation": "none" if they are probabilities that '
                f'add up to 1, else "{self._activation}"'
            )

    def warm_up(self, tiles: int) -> None:
        """Run batches of so many tiles until everything that makes first runs slow is done."""
        for _ in range(_WARM_UPS):
            self(np.zeros((tiles, self._edge, self._edge, 3), np.uint8))

    @torch.inference_mode()
    def _raw_answer(self, batch: Pixels) -> Floats:
        with self._device.turn():
            answer: Floats = self._answer(batch).double().cpu().numpy()
        return answer

    def _answer(self, batch: Pixels) -> Tensor:
        """Return what the network answers as (tiles, classes).

        Raises AlgorithmAnswerError for an error inside of the network, and for another answer.
        """
        samples = self._normalized(batch)
        try:
            answer = self._run(samples)
        except Exception as error:
            if is_short_of_memory(error):
                raise
            raise AlgorithmAnswerError(f"the network fails with {brief(error)}") from error
        return self._shaped(answer, len(batch))

    def _activated(self, answer: Tensor) -> Tensor:
        if self._activation == "softmax":
            return torch.softmax(answer, dim=1)
        if self._activation == "sigmoid":
            return torch.sigmoid(answer)
        return answer

    def _shaped(self, answer: object, tiles: int) -> Tensor:
        """Return what the network answers as (tiles, classes).

        Further dimensions of length 1 may follow, as a network that ends in a convolution has
        them. Raises AlgorithmAnswerError for anything else.
        """
        if not isinstance(answer, Tensor):
            raise self._wrong_answer(f"a {type(answer).__name__}", tiles)
        shape = tuple(answer.shape)
        if not answer.is_floating_point():
            raise self._wrong_answer(f"numbers of type {answer.dtype} in shape {shape}", tiles)
        required = (tiles, self._classes)
        if shape == (tiles,) and self._classes == 1:
            return answer.float().reshape(required)
        if shape[:2] != required or any(length != 1 for length in shape[2:]):
            raise self._wrong_answer(f"shape {shape}", tiles)
        return answer.float().reshape(required)

    def _wrong_answer(self, got: str, tiles: int) -> AlgorithmAnswerError:
        return AlgorithmAnswerError(
            f"the network answers {got} for a batch of {tiles}; num_classes of its config.json "
            f"is {self._classes}, so floating-point numbers in shape {(tiles, self._classes)} "
            "are required"
        )

    def _check_probabilities(self, probabilities: Floats) -> None:
        """Raise AlgorithmAnswerError unless they are from 0 to 1 and add up to 1 for each tile."""
        if not probabilities.size:
            return
        lowest = float(probabilities.min())
        highest = float(probabilities.max())
        if not (lowest >= -_SUM_TOLERANCE and highest <= 1 + _SUM_TOLERANCE):
            raise AlgorithmAnswerError(
                f"the network answers numbers from {lowest:g} to {highest:g}; with the activation "
                f"{self._activation!r} they must be probabilities, from 0 to 1"
            )
        if self._classes == 1:
            return
        sums = probabilities.sum(axis=1)
        worst = float(np.abs(sums - 1).max())
        if not worst <= _SUM_TOLERANCE:
            raise AlgorithmAnswerError(
                f"the network's probabilities for a tile are {worst:g} off a sum of 1"
            )

    def _normalized(self, batch: Pixels) -> Tensor:
        """Return the tiles as the network takes them: (N, 3, E, E), channels last in memory.

        Computes with whole rows of pixels: three channels at a time are too few for a processor's
        vectors, and take over ten times as long.
        """
        tiles = len(batch)
        edge = self._edge
        rows = self._device.copied(batch).view(tiles, edge, 3 * edge)
        samples = self._buffer(rows, torch.float32).copy_(rows)
        torch.addcmul(self._shift, samples, self._scale, out=samples)
        if self._precision != torch.float32:
            samples = self._buffer(rows, self._precision).copy_(samples)
        return samples.view(tiles, edge, edge, 3).permute(0, 3, 1, 2)

    def _buffer(self, rows: Tensor, precision: torch.dtype) -> Tensor:
        """Return memory like `rows`.

        On a CPU each thread has buffers of its own: a new one would be zeroed by the kernel page
        by page.
        """
        if self._device.is_gpu:
            return torch.empty_like(rows, dtype=precision)
        name = str(precision)
        buffer: Tensor | None = getattr(self._buffers, name, None)
        if buffer is None or len(buffer) < len(rows):
            buffer = torch.empty_like(rows, dtype=precision)
            setattr(self._buffers, name, buffer)
        return buffer[: len(rows)]


def brief(error: Exception) -> str:
    """Return the error's class and the end of its message, on one line."""
    text = " ".join(str(error).split())[-_MESSAGE_CHARS:]
    return f"{type(error).__name__}: {text}"


def _probes(edge: int) -> Pixels:
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
