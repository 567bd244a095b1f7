"""Makes torchscript_model.pt: replace Network with your own, then run `python make_network.py`."""

from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d


class Network(torch.nn.Module):
    """Finds spots that are darker than what is around them."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return a heat map (N, 1, 128, 128) of tiles (N, 3, 512, 512), whose samples are 0 to 1.

        The sigmoid of the heat is how likely a spot has its centre in a square of 4 x 4 pixels.
        """
        darkness = avg_pool2d(1 - pixels.mean(dim=1, keepdim=True), 4, 4)
        near = avg_pool2d(darkness, 3, 1, 1)
        around = avg_pool2d(darkness, 11, 1, 5)
        return 60 * (near - around) - 4


traced = torch.jit.trace(Network().eval(), torch.rand(2, 3, 512, 512))
traced.save(str(Path(__file__).with_name("torchscript_model.pt")))
