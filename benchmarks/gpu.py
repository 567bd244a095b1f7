"""Finds the GPU that is measured on, and samples with `nvidia-smi` how busy it is.

Busy is what the driver reports: the share of the last sixth of a second to second (which depends on
the card) in which any kernel of any process ran. It does not say how much of the card it used.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import torch

from worker.algorithms.torch_device.device import names

EVERY_MS = 200
_LINE = re.compile(r"(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}), (\d+)")
Samples = list[tuple[float, float]]


def seen() -> str:
    """Return the device in the terms of torch: `cuda:0` where there is one, else `cpu`."""
    if torch.cuda.device_count():
        return "cuda:0"
    return "cpu"


def name(device: str) -> str:
    """Return the name of the device for CUDA_VISIBLE_DEVICES and `nvidia-smi`.

    It is empty for the CPU, which hides every GPU.
    """
    if device == "cpu":
        return ""
    return names()[torch.device(device).index or 0]


def command(gpu: str) -> tuple[str, ...]:
    """Return the command that prints a sample a line; empty where there is no GPU or command."""
    if not gpu or not all(map(shutil.which, ("stdbuf", "nvidia-smi"))):
        return ()
    # It is killed in the end, so each line must be written at once.
    line_buffered = ("stdbuf", "-oL")
    query = (
        "--query-gpu=timestamp,utilization.gpu",
        "--format=csv,noheader,nounits",
        "-lms",
        str(EVERY_MS),
    )
    return (*line_buffered, "nvidia-smi", "-i", gpu, *query)


@contextmanager
def sampled(command: Sequence[str]) -> Iterator[Samples]:
    """Run the command while the context is open; the list is filled when it closes."""
    samples: Samples = []
    if not command:
        yield samples
        return
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        samples += parsed(out)


def parsed(lines: Iterator[str]) -> Samples:
    """Return seconds since 1970 and the busy share, 0 to 1, of each complete line."""
    samples = []
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match:
            samples.append((_seconds(match[1]), int(match[2]) / 100))
    return samples


def busy(samples: Samples, began: float, ended: float) -> float | None:
    """Return the mean between two times, in seconds since 1970, or None without a sample.

    The first sample covers up to a second before it, so in short runs the mean is too low.
    """
    shares = [share for at, share in samples if began <= at <= ended]
    if not shares:
        return None
    return sum(shares) / len(shares)


def _seconds(local: str) -> float:
    return datetime.strptime(local, "%Y/%m/%d %H:%M:%S.%f").astimezone().timestamp()
