"""The limit of reading: libjpeg-turbo alone decodes the stored tiles into reused buffers."""

import mmap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg

from benchmarks.peers.task import Task, run


def main() -> None:
    """Run the benchmark."""
    task = Task.from_command_line()
    edge = task.config["patch_size_pixels"]
    stored = task.stored
    with (
        Path(task.slide).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):

        def some(first: int) -> None:
            buffer = np.empty((edge, edge, 3), np.uint8)
            view = memoryview(data)
            for offset, length in stored[first :: task.threads].tolist():
                simplejpeg.decode_jpeg(view[offset : offset + length], "RGB", buffer=buffer)
            view.release()

        with ThreadPoolExecutor(task.threads) as pool:

            def everything() -> None:
                list(pool.map(some, range(task.threads)))

            list(pool.map(some, [len(stored) - 1] * task.threads))
            run(task, "decoding alone", "simplejpeg", everything)


if __name__ == "__main__":
    main()
