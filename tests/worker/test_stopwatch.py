"""The time of a scan is measured for each of its parts, and what computes is known to move on."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.scans import Dots, scan
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.progress import ProcessorTime, Stopwatch, computing


class ManualClock:
    """A clock that advances only when it is told to."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def __call__(self) -> float:
        return self.at_s

    def advance(self, seconds: float) -> None:
        self.at_s += seconds

    def fail_after(self, seconds: float) -> None:
        self.advance(seconds)
        raise ZeroDivisionError


def test_a_stage_is_added_up_also_when_it_fails() -> None:
    """Each name has its own sum, and an exception passes through."""
    now = ManualClock()
    stopwatch = Stopwatch(now)
    for _ in range(3):
        with stopwatch.measure("a"):
            now.advance(2)
    with pytest.raises(ZeroDivisionError), stopwatch.measure("b"):
        now.fail_after(5)
    assert stopwatch.timings == {"a_s": 6, "b_s": 5}


def test_what_others_measured_is_added() -> None:
    """Other threads measure for themselves."""
    stopwatch = Stopwatch(ManualClock())
    for spent_s in (0.5, 0.25):
        stopwatch.add("read", spent_s)
    assert stopwatch.timings == {"read_s": 0.75}


def test_a_scan_says_what_each_stage_took(tmp_path: Path) -> None:
    """Every part is there, and together they are no more than the whole."""
    pixels = np.random.default_rng(1).integers(0, 160, (256, 256, 3), dtype=np.uint8)
    timings = scan(Dots(), a_slide(tmp_path / "a.svs", pixels), tmp_path, 1, Listener())
    stages = ("open_s", "tissue_s", "calibrate_s", "read_s", "model_s", "merge_s")
    assert {
        *stages,
        "draw_s",
        "classify_s",
        "tiles",
        "tiles_resumed",
        "tiles_per_s",
        "read_bytes",
    } == set(timings)
    assert timings["tiles"] == 64
    assert timings["read_bytes"] == 64 * 48 * 48 * 3
    assert 0 <= timings["model_s"] <= timings["classify_s"]
    assert (
        sum(timings[stage] for stage in stages[:-1])
        <= timings["classify_s"] + timings["draw_s"] + 0.1
    )
    assert timings["tiles_per_s"] == pytest.approx(64 / timings["classify_s"], rel=0.02)


def test_what_uses_a_processor_computes_and_what_waits_does_not() -> None:
    """More than a twentieth of a core between two looks; the first look knows nothing."""
    now = ManualClock()
    processor = ProcessorTime(now)
    assert not processor.has_computed(100)
    now.advance(10)
    assert processor.has_computed(100.6)
    now.advance(10)
    assert not processor.has_computed(101.0)
    now.advance(10)
    assert not processor.has_computed(101.0)


class Mover(Listener):
    """A progress that gives up work which does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_once = threading.Event()

    def moved(self) -> None:
        self.moved_once.set()


def test_a_call_that_computes_for_long_moves() -> None:
    """By the processor time that is told; nothing is left running afterwards."""
    before = threading.active_count()
    busy = Mover()
    with computing(busy, time.monotonic):  # as if it used a whole core
        assert busy.moved_once.wait(60)
    with computing(Listener()):
        pass  # nobody watches
    assert threading.active_count() == before
