"""From colour to stain: how much haematoxylin and how much DAB a pixel holds.

Colour deconvolution with the vectors of Ruifrok and Johnston, "Quantification of histochemical staining by color
deconvolution", Anal Quant Cytol Histol 23 (2001) 291-299. Knows no nuclei.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from worker.geometry.frame import Floats

HAEMATOXYLIN: Final = 0
DAB: Final = 2
_VECTORS: Final = (
    (0.65, 0.70, 0.29),
    (0.07, 0.99, 0.11),
    (0.27, 0.57, 0.78),
)  # haematoxylin, eosin, DAB in RGB
_STEPS: Final = 1024
"""Densities are whole numbers of 1/1024: then float32 adds them exactly in any order, and tiles agree to the bit."""


def density(pixels: Tensor, stain: int) -> Tensor:
    """Decadic optical density of one stain: uint8 (N, H, W, 3) -> float32 (N, 1, H, W), below 0 where it lacks."""
    tables = torch.tensor(_tables(stain), dtype=torch.float32, device=pixels.device)
    total = torch.zeros(pixels.shape[:3], device=pixels.device)
    for channel in range(3):
        values = pixels[..., channel].to(torch.int32).flatten()
        total += tables[channel].index_select(0, values).view_as(total)
    return total.unsqueeze(1)


def _tables(stain: int) -> Floats:
    """What each value 0..255 of each channel adds to the stain's density, shape (3, 256)."""
    vectors = np.array(_VECTORS)
    unmix = np.linalg.inv(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    absorbed = -np.log10((np.arange(256) + 1) / 256)
    return np.asarray(np.round(np.outer(unmix[:, stain], absorbed) * _STEPS) / _STEPS)


def otsu(histogram: Floats) -> int:
    """The first bin above the threshold that parts the histogram best (Otsu 1979: greatest variance between parts)."""
    share = histogram / histogram.sum()
    below = share.cumsum()
    mean = (share * np.arange(len(share))).cumsum()
    spread = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-12)
    return int(spread[:-1].argmax()) + 1
