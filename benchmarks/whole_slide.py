"""Classifies one whole slide as a worker does, from opening it to its result files.

`python -m benchmarks.whole_slide SLIDE FOLDER` prints the timings as one line of JSON. `FOLDER` is
a network of the WSInfer zoo.
"""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.download import IgnoredProgress
from benchmarks.outputs.ours import order_for
from broker.settings.config import AlgorithmSettings
from worker.algorithms import registry
from worker.inference import pipeline
from worker.inference.checkpoint import Checkpoint
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.process.cgroup_limits import granted_cores
from worker.progress import Stopwatch
from worker.results import result_folder
from worker.slide_cache.local_slide import LocalSlide
from worker.slides.sandbox.client import Sandbox


def main() -> None:
    """Classify the slide and print the timings."""
    slide, folder = map(Path, sys.argv[1:])
    settings = {"zoo": AlgorithmSettings(kind="weights", folder=folder)}
    model = registry.load("zoo", settings, {}, "auto", max_batch_bytes=MAX_BATCH_BYTES)
    with tempfile.TemporaryDirectory(prefix="slidelane-bench-") as name:
        checkpoint = Checkpoint(Path(name) / "unfinished" / "1.0.1")
        order = order_for(slide, "zoo")
        job = pipeline.ScanJob(order, order.request.scans[0], LocalSlide(slide, "0" * 64, 1))
        done = pipeline.classify(
            job, model, checkpoint, Sandbox(granted_cores()), Stopwatch(), IgnoredProgress()
        )
        result_folder.save(Path(name) / "result", done.result, done.overlay)
        size_bytes = (Path(name) / "result" / "features.geojson").stat().st_size
    timings = {
        key: done.timings[key]
        for key in (
            "tiles",
            "tiles_per_s",
            "classify_s",
            "tissue_s",
            "read_s",
            "model_s",
            "merge_s",
        )
    }
    print(json.dumps(timings | {"geojson_bytes": size_bytes}))


if __name__ == "__main__":
    main()
