"""Locates nuclei from the densities of two stains: their pixels, and one marker for each nucleus.

A nucleus is dark in haematoxylin, in DAB or in both, and its density falls off on every side.
Everything is sums, maxima and comparisons over a neighbourhood, on the device that holds the
pixels. Sizes are for 0.5 um per pixel, so a half-size pixel is 1 um. All sums stay within float32's
24 bits, so they are exact, and what is found does not depend on the tile.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from worker.algorithms.builtin.ki67.stain import DAB, HAEMATOXYLIN, density

# Values without a unit are relative to the haematoxylin threshold.
_BLOB: Final = 0.10  # least contrast of a marker
_EDGE: Final = 0.06  # least contrast of a pixel
_ABOVE: Final = 1.1  # how much darker than its surroundings a nucleus is
# The local threshold lies between these two.
_FLOOR: Final = 0.6
_CEILING: Final = 1.15
# A nucleus that is found by its DAB has at least this density, and stands out by this contrast.
_DAB_OD: Final = 0.1
_DAB_CONTRAST_OD: Final = 0.03
_DAB_WEIGHT: Final = 0.5
# Where DAB rises, haematoxylin may fall by this share of it. A membrane between nuclei falls more.
_MEMBRANE: Final = 0.2
_APART_HALF_PX: Final = 3.75  # closer markers, in half-size pixels, are one nucleus
_BACKGROUND_PX: Final = 8
_FRACTIONS: Final = 4096.0


class Evidence(NamedTuple):
    """The evidence for nuclei in N tiles of E x E pixels, on the CPU.

    `dark`: uint8 (N, E, E), 1 where a nucleus may be. `peaks`: bool (N, E/2, E/2), the markers.
    `dab`: float32 (N, E, E), DAB density.
    """

    dark: Tensor
    peaks: Tensor
    dab: Tensor


class _Scales(NamedTuple):
    """A half-size picture blurred to variances of 2, 4, 8 and 16 um2, each from the one before."""

    finest: Tensor
    fine: Tensor
    coarse: Tensor
    coarsest: Tensor

    @property
    def blob(self) -> Tensor:
        """How far a spot of nuclear size stands out.

        It is the greatest difference of neighbouring scales (Lowe 2004).
        """
        small = self.finest - self.fine
        middle = self.fine - self.coarse
        large = self.coarse - self.coarsest
        return torch.maximum(torch.maximum(small, middle), large)

    @property
    def band(self) -> Tensor:
        """How far a pixel stands out from the surroundings of a nucleus; it is 0 at the edge."""
        return self.finest - self.coarsest

    @property
    def fall(self) -> Tensor:
        """How far a spot falls off on the side where it falls off least.

        It is 0 for a ridge, such as a stained membrane.
        """
        small = _least_fall(self.finest, 3)
        middle = _least_fall(self.fine, 4)
        large = _least_fall(self.coarse, 5)
        return torch.maximum(torch.maximum(small, middle), large)


def haematoxylin(pixels: Tensor) -> Tensor:
    """Return the haematoxylin density, never below 0, without the noise of single pixels.

    uint8 (N, H, W, 3) -> float32 (N, 1, H, W)
    """
    return _blur(density(pixels, HAEMATOXYLIN).clamp_min(0), 1, 2)


@torch.inference_mode()
def find_evidence(pixels: Tensor, threshold_od: float) -> Evidence:
    """Return the evidence for nuclei in uint8 (N, E, E, 3), E a multiple of 8.

    `threshold_od` is a haematoxylin density.
    """
    blue = density(pixels, HAEMATOXYLIN).clamp_min(0)
    brown = density(pixels, DAB)
    blue_scales = _scales(blue)
    brown_scales = _scales(brown.clamp_min(0))
    brown = _blur(brown, 1, 2)
    brown_band = brown_scales.band
    fall = brown_scales.fall
    nuclear = (fall > _DAB_CONTRAST_OD) & (blue_scales.band > -_MEMBRANE * brown_band)
    local_od = (_ABOVE * _background(blue)).clamp(_FLOOR * threshold_od, _CEILING * threshold_od)
    dark = (_blur(blue, 1, 2) > local_od) & (_doubled(blue_scales.band) > _EDGE * threshold_od)
    dark |= (brown > _DAB_OD) & (_doubled(brown_band.where(nuclear, 0)) > _DAB_CONTRAST_OD)
    blob = blue_scales.blob + (_DAB_WEIGHT * fall).where(nuclear, 0)
    peaks = (blob > _BLOB * threshold_od) & (blob == _highest_around(blob))
    return Evidence(
        dark=dark.squeeze(1).to(torch.uint8).cpu(),
        peaks=peaks.squeeze(1).cpu(),
        dab=brown.squeeze(1).cpu(),
    )


def _scales(stain: Tensor) -> _Scales:
    finest = _blur(functional.avg_pool2d(stain, 2), 1, 4)
    fine = _blur(finest, 2, 1)
    coarse = _blur(fine, 2, 2)
    return _Scales(finest, fine, coarse, _blur(coarse, 4, 1))


def _blur(x: Tensor, step: int, times: int) -> Tensor:
    """Blur by (1, 2, 1) with taps `step` apart: adds a variance of step**2 / 2 each time."""
    for _ in range(times):
        x = functional.pad(x, (step, step, step, step), mode="replicate")
        for _ in range(2):
            x = x[..., step:] + x[..., :-step]
        for _ in range(2):
            x = x[..., step:, :] + x[..., :-step, :]
        x = (x * (_FRACTIONS / 16)).round_().div_(_FRACTIONS)
    return x


def _background(stain: Tensor) -> Tensor:
    """Return the mean over some 14 um around each pixel."""
    small = _blur(_blur(functional.avg_pool2d(stain, _BACKGROUND_PX), 1, 2), 2, 1)
    return functional.interpolate(small, scale_factor=_BACKGROUND_PX, mode="bilinear")


def _doubled(half: Tensor) -> Tensor:
    return functional.interpolate(half, scale_factor=2, mode="bilinear")


def _least_fall(x: Tensor, reach_px: int) -> Tensor:
    """Return the least of (2 x - two opposite neighbours) / 4 over four directions."""
    slant = round(reach_px / 2**0.5)
    least = torch.full_like(x, torch.inf)
    for dy, dx in ((0, reach_px), (reach_px, 0), (slant, slant), (slant, -slant)):
        least = torch.minimum(least, 2 * x - _moved(x, dy, dx) - _moved(x, -dy, -dx))
    return least / 4


def _highest_around(x: Tensor) -> Tensor:
    """Return the greatest value within a disc of `_APART_HALF_PX` around each pixel."""
    span = range(-int(_APART_HALF_PX), int(_APART_HALF_PX) + 1)
    highest = x
    for dy in span:
        for dx in span:
            if dy * dy + dx * dx <= _APART_HALF_PX**2:
                highest = torch.maximum(highest, _moved(x, dy, dx))
    return highest


def _moved(x: Tensor, dy: int, dx: int) -> Tensor:
    """Return the picture moved by (-dx, -dy); the pixels of its border are repeated."""
    height, width = x.shape[-2:]
    top = max(dy, 0)
    left = max(dx, 0)
    padded = functional.pad(x, (max(-dx, 0), left, max(-dy, 0), top), mode="replicate")
    return padded[..., top : top + height, left : left + width]
