"""Separates stains: how much haematoxylin and how much DAB a pixel holds.

Colour deconvolution with the vectors of Ruifrok and Johnston, "Quantification of histochemical
staining by color deconvolution", Anal Quant Cytol Histol 23 (2001) 291-299.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from worker.algorithms.builtin.ki67.arrays import Floats

HAEMATOXYLIN: Final = 0
DAB: Final = 2
# Haematoxylin, eosin and DAB in RGB.
_VECTORS: Final = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_STEPS: Final = 1024
"""Densities are multiples of 1/1024, which float32 adds exactly in any order: tiles agree bit by
bit."""


def density(pixels: Tensor, stain: int) -> Tensor:
    """Return the decadic optical density of one stain, below 0 where it is lacking.

    uint8 (N, H, W, 3) -> float32 (N, 1, H, W)
    """
    tables = torch.tensor(_tables(stain), dtype=torch.float32, device=pixels.device)
    total = torch.zeros(pixels.shape[:3], device=pixels.device)
    for channel in range(3):
        values = pixels[..., channel].to(torch.int32).flatten()
        total += tables[channel].index_select(0, values).view_as(total)
    return total.unsqueeze(1)


def otsu(histogram: Floats) -> int:
    """Return the first bin above Otsu's threshold (1979): the greatest variance between parts."""
    share = histogram / histogram.sum()
    below = share.cumsum()
    mean = (share * np.arange(len(share))).cumsum()
    between = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-12)
    return int(between[:-1].argmax()) + 1


def _tables(stain: int) -> Floats:
    """Return what each value 0..255 of each channel adds to the stain's density: (3, 256)."""
    vectors = np.array(_VECTORS)
    unmix = np.linalg.inv(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    absorbed = -np.log10((np.arange(256) + 1) / 256)
    return np.asarray(np.round(np.outer(unmix[:, stain], absorbed) * _STEPS) / _STEPS)
