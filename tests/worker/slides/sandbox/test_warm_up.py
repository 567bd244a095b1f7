"""The slide that the server of the decoder processes reads before it forks."""

from pathlib import Path

import numpy as np

from worker.slides.sandbox.warm_up import small_slide, warm_up
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


def test_nothing_is_left_open_and_no_thread_runs() -> None:
    """A process with threads cannot fork safely, and an open file would be inherited."""
    before = names_of("task"), names_of("fd")
    warm_up()
    assert (names_of("task"), names_of("fd")) == before


def names_of(kind: str) -> list[str]:
    """Return the threads ("task") or open files ("fd") of this process."""
    return sorted(entry.name for entry in Path("/proc/self", kind).iterdir())
