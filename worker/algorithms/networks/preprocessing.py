"""Makes the input of a network of the pixels of tiles, as its model file says."""

from threading import local

import numpy as np
import torch
from torch import Tensor

from worker.algorithms.model_folder.model_file import MeanStd, Percentiles, PixelModel
from worker.algorithms.torch_device.device import Device
from worker.geometry.frame import Floats, Pixels

_BYTES = 255
_LEAST_RANGE = 1e-6


class Preprocessing:
    """Prepares batches for one network on one device. Threads may share it."""

    def __init__(
        self, model: PixelModel, device: Device, precision: torch.dtype, samples: Pixels
    ) -> None:
        """`precision` is the type of the network's input, unless it takes bytes.

        `samples` are tiles of the scan (N, H, W, 3), whose percentiles some networks need; without
        any, the range of all pixels is taken.
        """
        self._model = model
        self._device = device
        self._precision = precision
        self._edge = model.input_px
        self._buffers = local()
        factor, offset = _linear(model, samples)
        if model.channels == "bgr":
            # channels are turned round last, and `normalize` states them as the network has them
            factor = factor[::-1].copy()
            offset = offset[::-1].copy()
        self._factor = torch.from_numpy(factor).float().repeat(self._edge).to(device.torch)
        self._offset = torch.from_numpy(offset).float().repeat(self._edge).to(device.torch)

    def __call__(self, batch: Pixels) -> Tensor:
        """Return the tiles (N, E, E, 3) as the network takes them: (N, 3, E, E) or (N, E, E, 3).

        Must be called within a turn of the device. On a CPU the next call of the same thread
        overwrites the result. Computes with whole rows of pixels: three channels at a time are too
        few for a processor's vectors, and take over ten times as long.
        """
        tiles = len(batch)
        edge = self._edge
        rows = self._device.copied(batch).view(tiles, edge, 3 * edge)
        if self._model.scale == "uint8":
            samples = self._buffer(rows, torch.uint8).copy_(rows)
        else:
            samples = self._scaled(rows)
        samples = samples.view(tiles, edge, edge, 3)
        if self._model.channels == "bgr":
            samples = samples.flip(3)
        if self._model.layout == "NHWC":
            return samples
        return samples.permute(0, 3, 1, 2)  # channels last in memory

    def _scaled(self, rows: Tensor) -> Tensor:
        samples = self._buffer(rows, torch.float32).copy_(rows)
        torch.addcmul(self._offset, samples, self._factor, out=samples)
        normalize = self._model.normalize
        if isinstance(normalize, Percentiles) and normalize.clip is not None:
            samples.clamp_(*normalize.clip)
        if self._precision == torch.float32:
            return samples
        return self._buffer(rows, self._precision).copy_(samples)

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


def _linear(model: PixelModel, samples: Pixels) -> tuple[Floats, Floats]:
    """Return factor and offset of each channel that make the network's input of bytes."""
    unit = 1.0
    if model.scale == "unit":
        unit = 1 / _BYTES
    normalize = model.normalize
    if normalize is None:
        return np.full(3, unit), np.zeros(3)
    if isinstance(normalize, MeanStd):
        mean = np.array(normalize.mean)
        deviation = np.array(normalize.std)
        return unit / deviation, -mean / deviation
    low = np.zeros(3)
    high = np.full(3, _BYTES * unit)
    if samples.size:
        order = range(3)
        if model.channels == "bgr":
            order = range(2, -1, -1)
        for place, channel in enumerate(order):
            low[place], high[place] = unit * _percentiles(
                samples[..., channel], normalize.percentiles
            )
    width = np.maximum(_LEAST_RANGE, high - low)
    return unit / width, -low / width


def _percentiles(values: Pixels, percents: tuple[float, float]) -> Floats:
    """Return what numpy.percentile does, from a histogram: bytes need no sorting."""
    counts = np.cumsum(np.bincount(values.ravel(), minlength=_BYTES + 1))
    ranks = np.array(percents) / 100 * (counts[-1] - 1)
    below = np.searchsorted(counts, np.floor(ranks), side="right")
    above = np.searchsorted(counts, np.ceil(ranks), side="right")
    return np.asarray(below + (above - below) * (ranks - np.floor(ranks)))
