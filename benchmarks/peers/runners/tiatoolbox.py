"""TIAToolbox: its `PatchPredictor` on the whole slide, with a mask that selects our tiles."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.runners import operators
from benchmarks.peers.runners.model import load, normalisation
from benchmarks.peers.task import Probabilities, Task, run

MASK_PX_PER_TILE = 4


def main() -> None:
    """Run the benchmark."""
    operators.register()
    from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
    from tiatoolbox.models.engine.patch_predictor import PatchPredictor
    from tiatoolbox.wsicore import WSIReader

    task = Task.from_command_line()
    edge = task.config["patch_size_pixels"]
    engine = PatchPredictor(
        _model(task), task.batch, task.workers, device=task.device, verbose=False
    )
    mask = _mask(task, WSIReader.open(task.slide).info.slide_dimensions, edge)
    config = IOPatchPredictorConfig(
        input_resolutions=[{"units": "mpp", "resolution": task.config["spacing_um_px"]}],
        patch_input_shape=(edge, edge),
        stride_shape=(edge, edge),
    )

    def classify() -> Probabilities:
        outputs = engine.run(
            [Path(task.slide)],
            masks=[mask],
            patch_mode=False,
            ioconfig=config,
            return_probabilities=True,
            save_dir=Path(task.scratch) / "results",
            output_type="zarr",
        )
        import zarr

        (path,) = outputs.values()
        output: Any = zarr.open(str(path), mode="r")
        return task.in_order(output["coordinates"][:, :2], output["probabilities"][:])

    run(task, "TIAToolbox", "tiatoolbox", classify)


def _model(task: Task) -> Any:
    from tiatoolbox.models.architecture.vanilla import _infer_batch
    from tiatoolbox.models.dataset.classification import predefined_preproc_func
    from tiatoolbox.models.models_abc import ModelABC

    network = load(task)
    mean, std = (tensor.to(task.device) for tensor in normalisation(task))

    class Model(ModelABC):
        """Our network in the form of its zoo: pixels from 0 to 1 in, probabilities out."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.softmax(network((images - mean) / std), -1)

        @staticmethod
        def infer_batch(model: Any, batch_data: torch.Tensor, *, device: str) -> Any:
            return _infer_batch(model=model, batch_data=batch_data, device=device)

        @staticmethod
        def postproc(image: Any) -> Any:
            return np.argmax(image, axis=-1)

    model = Model()
    model.preproc_func = predefined_preproc_func("kather100k")
    return model


def _mask(task: Task, size: tuple[int, int], edge: int) -> Any:
    width, height = (-(-side // edge) * MASK_PX_PER_TILE for side in size)
    mask = np.zeros((height, width), np.uint8)
    for x, y in (task.corners // edge * MASK_PX_PER_TILE).tolist():
        mask[y : y + MASK_PX_PER_TILE, x : x + MASK_PX_PER_TILE] = 1
    return mask


if __name__ == "__main__":
    main()
