"""The slide that the server of the decoder processes reads before it forks."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from worker.slides.sandbox.warm_up import small_slide
from worker.slides.slide import Slide


def test_the_slide_is_read_by_the_readers_that_slides_of_scanners_take(tmp_path: Path) -> None:
    """OpenSlide opens it, and its tiles are decoded as those of Aperio's scanners are."""
    path = tmp_path / "small.svs"
    path.write_bytes(small_slide())
    with Slide.open(path) as slide:
        assert slide.reader.startswith("OpenSlide")
        assert slide.reader.endswith("tiles by libjpeg-turbo")
        assert slide.frame.mpp_x == 0.5
        assert np.abs(slide.read(0, 0, 512, 512, 1.0, 1.0).astype(int) - 240).max() <= 2


_NAMES_BEFORE_AND_AFTER = """
import os
from worker.slides.sandbox.warm_up import warm_up

def names():
    return sorted(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd"))

before = names()
warm_up()
after = names()
assert before == after, (before, after)
"""


def test_nothing_is_left_open_and_no_thread_runs() -> None:
    """A process with threads cannot fork safely, and an open file would be inherited.

    It is looked at in a process of its own: in this one, garbage of other tests may close files.
    """
    subprocess.run([sys.executable, "-c", _NAMES_BEFORE_AND_AFTER], check=True, timeout=60)
