"""Where nuclei are, from the densities of two stains: pixels that belong to nuclei, and one marker for each nucleus.

A nucleus is dark in haematoxylin, in DAB or in both, and falls off on every side. Everything here is sums, maxima and
comparisons over a neighbourhood, on whatever device the pixels are. Sizes are for 0.5 um per pixel, so a half-size
pixel is 1 um. All sums stay within float32's 24 bits, so they are exact, and what is found does not depend on the tile.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from worker.algorithms.ki67.stain import DAB, HAEMATOXYLIN, density

# Relative to the haematoxylin threshold where they carry no unit.
_BLOB: Final = 0.10  # least contrast of a marker
_EDGE: Final = 0.06  # least contrast of a pixel
_ABOVE: Final = 1.1  # how much darker than its surroundings a nucleus is
_FLOOR: Final = 0.6  # the local threshold lies between these
_CEILING: Final = 1.15
_DAB_OD: Final = 0.1  # least DAB of a nucleus that is found by its DAB
_DAB_CONTRAST_OD: Final = 0.03  # and how far it stands out on every side
_DAB_WEIGHT: Final = 0.5
_MEMBRANE: Final = 0.2  # where DAB rises, haematoxylin may fall by this share of it; more is a membrane between nuclei
_APART_HALF_PX: Final = 3.75  # closer markers are one nucleus
_BACKGROUND_PX: Final = 8
_FRACTIONS: Final = 4096.0


class Evidence(NamedTuple):
    """What speaks for nuclei in N tiles of E pixels, on the CPU.

    `dark`: uint8 (N, E, E), 1 where a nucleus may be. `peaks`: bool (N, E/2, E/2), the markers. `dab`: float32
    (N, E, E), DAB density.
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
        """How far a spot of nuclear size stands out: the greatest difference of neighbouring scales (Lowe 2004)."""
        steps = (self.finest - self.fine, self.fine - self.coarse, self.coarse - self.coarsest)
        return torch.maximum(torch.maximum(steps[0], steps[1]), steps[2])

    @property
    def band(self) -> Tensor:
        """How far a pixel stands out from what lies around a nucleus; its zero is the edge."""
        return self.finest - self.coarsest

    @property
    def fall(self) -> Tensor:
        """How far a spot falls off where it falls off least, so that a ridge (a stained membrane) scores nothing."""
        pairs = ((self.finest, 3), (self.fine, 4), (self.coarse, 5))
        falls = [_least_fall(blurred, reach_px) for blurred, reach_px in pairs]
        return torch.maximum(torch.maximum(falls[0], falls[1]), falls[2])


def haematoxylin(pixels: Tensor) -> Tensor:
    """Haematoxylin density, never below 0, free of pixel noise: uint8 (N, H, W, 3) -> float32 (N, 1, H, W)."""
    return _blur(density(pixels, HAEMATOXYLIN).clamp_min(0), 1, 2)


@torch.inference_mode()
def search(pixels: Tensor, threshold_od: float) -> Evidence:
    """Gather the evidence in uint8 (N, E, E, 3), E a multiple of 8; the threshold is a haematoxylin density."""
    blue, brown = density(pixels, HAEMATOXYLIN).clamp_min(0), density(pixels, DAB)
    blue_scales, brown_scales = _scales(blue), _scales(brown.clamp_min(0))
    brown, brown_band, fall = _blur(brown, 1, 2), brown_scales.band, brown_scales.fall
    nuclear = (fall > _DAB_CONTRAST_OD) & (blue_scales.band > -_MEMBRANE * brown_band)
    local = (_ABOVE * _background(blue)).clamp(_FLOOR * threshold_od, _CEILING * threshold_od)
    dark = (_blur(blue, 1, 2) > local) & (_doubled(blue_scales.band) > _EDGE * threshold_od)
    dark |= (brown > _DAB_OD) & (_doubled(brown_band.where(nuclear, 0)) > _DAB_CONTRAST_OD)
    blob = blue_scales.blob + (_DAB_WEIGHT * fall).where(nuclear, 0)
    peaks = (blob > _BLOB * threshold_od) & (blob == _highest_around(blob))
    return Evidence(
        dark.squeeze(1).to(torch.uint8).cpu(), peaks.squeeze(1).cpu(), brown.squeeze(1).cpu()
    )


def _scales(stain: Tensor) -> _Scales:
    finest = _blur(functional.avg_pool2d(stain, 2), 1, 4)
    fine = _blur(finest, 2, 1)
    coarse = _blur(fine, 2, 2)
    return _Scales(finest, fine, coarse, _blur(coarse, 4, 1))


def _blur(x: Tensor, step: int, times: int) -> Tensor:
    """Binomial blur (1, 2, 1) with its taps `step` apart: adds a variance of step**2 / 2 each time."""
    for _ in range(times):
        x = functional.pad(x, (step, step, step, step), mode="replicate")
        for _ in range(2):
            x = x[..., step:] + x[..., :-step]
        for _ in range(2):
            x = x[..., step:, :] + x[..., :-step, :]
        x = (x * (_FRACTIONS / 16)).round_().div_(_FRACTIONS)
    return x


def _background(stain: Tensor) -> Tensor:
    """The mean over some 14 um around each pixel."""
    small = _blur(_blur(functional.avg_pool2d(stain, _BACKGROUND_PX), 1, 2), 2, 1)
    return functional.interpolate(small, scale_factor=_BACKGROUND_PX, mode="bilinear")


def _doubled(half: Tensor) -> Tensor:
    return functional.interpolate(half, scale_factor=2, mode="bilinear")


def _least_fall(x: Tensor, reach_px: int) -> Tensor:
    """The least of (2 x - two opposite neighbours) / 4, over four directions."""
    slant = round(reach_px / 2**0.5)
    least = torch.full_like(x, torch.inf)
    for dy, dx in ((0, reach_px), (reach_px, 0), (slant, slant), (slant, -slant)):
        least = torch.minimum(least, 2 * x - _moved(x, dy, dx) - _moved(x, -dy, -dx))
    return least / 4


def _highest_around(x: Tensor) -> Tensor:
    """The greatest value within a disc."""
    span = range(-int(_APART_HALF_PX), int(_APART_HALF_PX) + 1)
    highest = x
    for dy, dx in (
        (dy, dx) for dy in span for dx in span if dy * dy + dx * dx <= _APART_HALF_PX**2
    ):
        highest = torch.maximum(highest, _moved(x, dy, dx))
    return highest


def _moved(x: Tensor, dy: int, dx: int) -> Tensor:
    """The picture seen from (dx, dy) farther on; its border goes on."""
    height, width = x.shape[-2:]
    top, left = max(dy, 0), max(dx, 0)
    padded = functional.pad(x, (max(-dx, 0), left, max(-dy, 0), top), mode="replicate")
    return padded[..., top : top + height, left : left + width]
