"""MONAI: its dataset of whole-slide patches over cuCIM, its transforms and its data loader."""

import numpy as np
import torch

from benchmarks.peers.runners.model import load
from benchmarks.peers.task import Probabilities, Task, run


def main() -> None:
    """Run the benchmark."""
    from monai.data import DataLoader, PatchWSIDataset
    from monai.transforms import CastToTyped, Compose, ScaleIntensityRanged

    task = Task.from_command_line()
    model = load(task)
    edge = task.config["patch_size_pixels"]
    # From 0..255 to -1..1, as in its own pathology bundle and as our networks need it.
    steps = [
        CastToTyped("image", dtype=np.float32),
        ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=-1, b_max=1),
    ]
    patches = [{"image": task.slide, "location": (y, x)} for x, y in task.corners.tolist()]
    data = PatchWSIDataset(
        patches,
        (edge, edge),
        0,
        Compose(steps),
        include_label=False,
        center_location=False,
        reader="cuCIM",
    )
    loader = DataLoader(data, batch_size=task.batch, num_workers=task.workers)

    def classify() -> Probabilities:
        answers = []
        with torch.inference_mode():
            for batch in loader:
                images = batch["image"].as_tensor().to(task.device)
                answers.append(torch.softmax(model(images), 1).cpu().numpy())
        return np.concatenate(answers)

    run(task, "MONAI with cuCIM", "monai", classify)


if __name__ == "__main__":
    main()
