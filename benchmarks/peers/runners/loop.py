"""The loop of Techcyte's template for containers: OpenSlide, one tile, one forward pass."""

import numpy as np
import openslide
import torch

from benchmarks.peers.runners.model import load, normalisation
from benchmarks.peers.task import Probabilities, Task, run


def main() -> None:
    """Run the benchmark."""
    task = Task.from_command_line()
    model = load(task)
    mean, std = normalisation(task)
    edge = task.config["patch_size_pixels"]
    slide = openslide.OpenSlide(task.slide)

    def classify() -> Probabilities:
        answers = []
        for x, y in task.corners.tolist():
            tile = np.asarray(slide.read_region((x, y), 0, (edge, edge)).convert("RGB"))
            pixels = torch.from_numpy(tile.transpose(2, 0, 1).copy()).float() / 255
            with torch.no_grad():
                answers.append(
                    torch.softmax(model(((pixels - mean) / std)[None].to(task.device)), 1)
                    .cpu()
                    .numpy()
                )
        return np.concatenate(answers)

    run(task, "plain loop with OpenSlide", "openslide-python", classify)


if __name__ == "__main__":
    main()
