"""WSInfer: its `run_inference` on its files of patches, without the time to load the model.

It computes on a GPU wherever it sees one.
"""

from pathlib import Path

import h5py
import pandas as pd
import torch

from benchmarks.peers.runners import operators
from benchmarks.peers.runners.model import load
from benchmarks.peers.task import Probabilities, Task, run


def main() -> None:
    """Run the benchmark."""
    operators.register()
    import wsinfer_zoo.client
    from wsinfer.modellib import models, run_inference

    task = Task.from_command_line()
    model = load(task)
    # What its option --speedup does.
    fast = models.jit_compile(model)
    with torch.inference_mode():
        for _ in range(4):
            fast(torch.zeros(task.batch, 3, 256, 256, device=task.device))
    run_inference.get_pretrained_torch_module = lambda model: fast  # noqa: ARG005 - its name for it
    config = wsinfer_zoo.client.ModelConfiguration.from_dict(task.config)
    local = models.LocalModelTorchScript(config=config, model_path=task.weights)
    slides, results = _write_inputs(task)

    def classify() -> Probabilities:
        _, failed = run_inference.run_inference(slides, results, local, task.batch, task.workers)
        if failed:
            raise RuntimeError(f"WSInfer failed on {failed}")
        table = pd.read_csv(results / "model-outputs-csv" / "slide.csv")
        chances = [f"prob_{name}" for name in task.config["class_names"]]
        return task.in_order(table[["minx", "miny"]].to_numpy(), table[chances].to_numpy())

    run(task, "WSInfer", "wsinfer", classify)


def _write_inputs(task: Task) -> tuple[Path, Path]:
    """Return a folder of slides and one of results, as its `patch` command writes them."""
    slides = Path(task.scratch) / "slides"
    results = Path(task.scratch) / "results"
    (results / "patches").mkdir(parents=True)
    slides.mkdir()
    (slides / "slide.svs").symlink_to(task.slide)
    with h5py.File(results / "patches" / "slide.h5", "w") as file:
        coordinates = file.create_dataset("coords", data=task.corners)
        coordinates.attrs.update({"patch_size": task.config["patch_size_pixels"], "patch_level": 0})
    return slides, results


if __name__ == "__main__":
    main()
