"""Stain separation: from RGB to how much haematoxylin and DAB lies on each pixel.

Ruifrok and Johnston, Quantification of histochemical staining by color deconvolution, Anal Quant Cytol Histol 23
(2001), 291-299: optical densities of stains add up, so the amounts are the densities times the inverse of the matrix of
the stains.
"""

import torch

HAEMATOXYLIN, EOSIN, DAB = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)
"""Optical density of each stain in red, green and blue, as the paper gives them; used at unit length."""


def unmixing(device: torch.device) -> torch.Tensor:
    """The (2, 3) matrix from optical density in (R, G, B) to amounts of (haematoxylin, DAB)."""
    stains = torch.tensor([HAEMATOXYLIN, EOSIN, DAB], dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    inverse: torch.Tensor = torch.linalg.inv(stains)
    return inverse.T[[0, 2]].to(device, torch.float32)


def separate(batch: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Amounts (N, 2, H, W) of haematoxylin and DAB in optical density, >= 0, from RGB (N, H, W, 3) uint8."""
    density = torch.log2(batch.to(torch.float32).add_(1)).sub_(8).mul_(-0.6931471805599453)
    return torch.einsum("nhwc,sc->nshw", density, matrix).clamp_min_(0)
