"""Which GPU is measured on, and how busy it is meanwhile, as `nvidia-smi` says it.

Busy is the driver's word: of the last sixth of a second to second (which, depends on the card) the share in which any
kernel ran, of whichever process. It does not say how much of the card that kernel used.
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
    """The device that torch knows it by: `cuda:0` where there is one, else `cpu`."""
    return "cuda:0" if torch.cuda.device_count() else "cpu"


def name(device: str) -> str:
    """The name that CUDA_VISIBLE_DEVICES and `nvidia-smi` take for it; empty, as they hide all GPUs, for the CPU."""
    return "" if device == "cpu" else names()[torch.device(device).index or 0]


def command(gpu: str) -> tuple[str, ...]:
    """What says its samples, a line each; empty where there is no GPU or nobody to ask."""
    if not gpu or not all(map(shutil.which, ("stdbuf", "nvidia-smi"))):
        return ()
    asked = (
        "--query-gpu=timestamp,utilization.gpu",
        "--format=csv,noheader,nounits",
        "-lms",
        str(EVERY_MS),
    )
    return (
        "stdbuf",
        "-oL",
        "nvidia-smi",
        "-i",
        gpu,
        *asked,
    )  # line by line, for it is killed at last


@contextmanager
def sampled(told_by: Sequence[str]) -> Iterator[Samples]:
    """What this command says meanwhile; filled when that is over."""
    samples: Samples = []
    if not told_by:
        yield samples
        return
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(told_by, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield samples
        finally:
            process.kill()
            process.wait()
        out.seek(0)
        samples += parsed(out)


def parsed(lines: Iterator[str]) -> Samples:
    """Seconds since 1970 and the busy share, 0 to 1, of each line that `nvidia-smi` said whole."""
    found = (_LINE.fullmatch(line.strip()) for line in lines)
    return [(_seconds(one[1]), int(one[2]) / 100) for one in found if one]


def busy(samples: Samples, began: float, ended: float) -> float | None:
    """Their mean between two times, in seconds since 1970; None where there is none.

    The first one looks back by up to a second, to before what was measured began: in short runs the mean is too low.
    """
    shares = [share for at, share in samples if began <= at <= ended]
    return sum(shares) / len(shares) if shares else None


def _seconds(local: str) -> float:
    return datetime.strptime(local, "%Y/%m/%d %H:%M:%S.%f").astimezone().timestamp()
