"""Where nuclei are: blobs on the nuclear signal, each pixel given to its nearest marker. Sizes in microns.

The first half is convolutions and pooling on the device; what needs labels runs on the CPU, tile by tile.
Everything is local: nothing depends on pixels farther away than the card's halo, and every pooled grid has a step of at
most 4 pixels, of which tile and halo are multiples; so a nucleus comes out alike on every tile that shows it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody writes it
from numpy.typing import NDArray

from worker.values import Floats

RADII_UM = (2.2, 3.2, 4.6)
"""Nuclear radii looked for."""
LONGEST_RADIUS_UM = 12.0
"""A pixel farther from its marker belongs to no nucleus."""
BACKGROUND_UM = 10.0
SMOOTHING_UM = 0.5
HIDDEN_DAB = 0.5
"""How much of the DAB counts as nuclear signal: all of it would make nuclei of brown cytoplasm, none would miss nuclei
whose haematoxylin the DAB hides."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Nuclei of one tile: `cells` (H, W) holds 0 or a nucleus' number, `centres` (n, 2) the marker of each, 1 to n."""

    cells: NDArray[np.int32]
    centres: Floats


def blur(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Gaussian blur of (N, 1, H, W), cut at three sigma, edges repeated."""
    reach = int(3 * sigma_px + 0.5)
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-steps.square() / (2 * sigma_px**2))
    kernel = kernel / kernel.sum()
    rows = F.conv2d(F.pad(image, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))


def signal(stains: torch.Tensor, mpp: float) -> torch.Tensor:
    """The smoothed nuclear signal (N, 1, H, W) of haematoxylin and DAB amounts (N, 2, H, W)."""
    return blur(stains[:, :1] + HIDDEN_DAB * stains[:, 1:], SMOOTHING_UM / mpp)


def markers(nuclear: torch.Tensor, threshold: float, mpp: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Where nuclear signal is (N, H, W), and peaks, one or a few pixels a nucleus, at half the size (N, H/2, W/2)."""
    half = F.avg_pool2d(nuclear, 2)
    blob = torch.stack([_blobs(half, radius / (2 * mpp)) for radius in RADII_UM]).amax(0)
    around = blur(F.avg_pool2d(nuclear, 4), BACKGROUND_UM / (4 * mpp))
    local = (
        F.interpolate(around, size=nuclear.shape[2:], mode="bilinear")
        .mul_(1.15)
        .clamp_(0.75 * threshold, 1.15 * threshold)
    )
    window = 2 * round(RADII_UM[0] / (2 * mpp)) + 1
    top = F.max_pool2d(blob, window, 1, window // 2)
    peaks = (blob == top) & (blob > 0.06 * threshold) & (half > F.avg_pool2d(local, 2))
    mask = (nuclear > local) & (F.interpolate(blob, scale_factor=2, mode="bilinear") > -0.01 * threshold)
    return mask[:, 0], peaks[:, 0]


def _blobs(half: torch.Tensor, radius_px: float) -> torch.Tensor:
    # a difference of Gaussians answers strongest to a disc of radius sigma * sqrt(2)
    sigma = radius_px / 2**0.5
    return blur(half, sigma * 0.85) - blur(half, sigma * 1.35)


def label(mask: NDArray[np.uint8], peaks: NDArray[np.uint8], mpp: float) -> Labels:
    """Give every pixel of `mask` (H, W) to its nearest marker; touching peaks (H/2, W/2) are one marker."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, disc)  # type: ignore[assignment]
    count, seeds, _, middles = cv2.connectedComponentsWithStats(peaks, connectivity=8)
    large = np.repeat(np.repeat(seeds, 2, axis=0), 2, axis=1)
    distance, nearest = cv2.distanceTransformWithLabels(
        (large == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    number_of = np.zeros(int(nearest.max()) + 1, np.int32)
    number_of[nearest[large > 0]] = large[large > 0]
    cells = number_of[nearest] * ((mask > 0) & (distance <= LONGEST_RADIUS_UM / mpp))
    return Labels(cells, np.asarray(middles[1:count] * 2 + 1.0, np.float64))


def outline(labels: Labels, number: int, mpp: float) -> Floats | None:
    """The open outer ring (K, 2) of one nucleus in pixel coordinates, or None when nothing of it is left.

    The ring runs through pixel centres (half-integer coordinates), a little simplified.
    """
    reach = int(LONGEST_RADIUS_UM / mpp) + 2
    x, y = labels.centres[number - 1].astype(int)
    left, top = max(0, x - reach), max(0, y - reach)
    piece = (labels.cells[top : y + reach + 1, left : x + reach + 1] == number).astype(np.uint8)
    rings, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not rings:
        return None
    ring = cv2.approxPolyDP(max(rings, key=len), 0.6, closed=True)[:, 0, :]
    if len(ring) < 4 or cv2.contourArea(ring) == 0:
        return None
    level: Floats = ring + np.array([left + 0.5, top + 0.5])
    return level
