"""Makes both networks: replace them with your own, then run `python make_network.py`.

encoder/torchscript_model.pt makes a vector of each tile; torchscript_model.pt judges all vectors.
"""

from pathlib import Path

import torch


class Encoder(torch.nn.Module):
    """Makes a vector of each tile: mean and spread of its colours."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return vectors (N, 6) of tiles (N, 3, 224, 224), whose samples are 0 to 1."""
        means = pixels.mean(dim=(2, 3))
        spreads = pixels.std(dim=(2, 3))
        return torch.cat([means, spreads], dim=1)


class Network(torch.nn.Module):
    """Tells dark slides from light ones, by the tiles that it attends to."""

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores (1, 2) and attention (1, T) for the vectors (1, T, 6) of a slide."""
        darkness = 1 - features[..., :3].mean(dim=2)
        attention = 10 * darkness
        weights = torch.softmax(attention, dim=1)
        mean = (weights * darkness).sum(dim=1)
        return 20 * torch.stack([0.3 - mean, mean - 0.3], dim=1), attention


folder = Path(__file__).parent
encoder = torch.jit.trace(Encoder().eval(), torch.rand(2, 3, 224, 224))
encoder.save(str(folder / "encoder" / "torchscript_model.pt"))
network = torch.jit.trace(Network().eval(), torch.rand(1, 100, 6))
network.save(str(folder / "torchscript_model.pt"))
