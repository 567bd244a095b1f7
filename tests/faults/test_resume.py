"""A worker is lost during a scan: the next one resumes at a checkpoint, with the same result."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from demo.slide import make_sample_slide
from demo.techcyte import TechcyteReceiver
from tests.faults.fleet import Fleet
from tests.faults.orders import delivered, held, log, order_body
from tests.support.gate import LOOKS_EVERY_S
from tests.support.scans import Dots, DotsClassifier, scan, scanned_elsewhere
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from tests.support.stack import GATED, ROLES, wait_for
from tests.support.tissue_sections import section
from worker.geometry.frame import Pixels
from worker.inference.checkpoint import UNFINISHED

RESULT_FILES = (
    "features.geojson",
    "features.geojson.gz",
    "objects.csv",
    "region.geojson",
    "results.json",
    "overlay.png",
    "findings.json",
    "findings.pmtiles",
)


def dotted(width_px: int, height_px: int) -> Pixels:
    """Return a picture that is all tissue with many dots, also on the seams of tiles of 32 px."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(150, 160, (height_px, width_px, 3), dtype=np.uint8)
    pixels[..., 1] -= 60
    for y in range(5, height_px - 5, 9):
        for x in range(5, width_px - 5, 9):
            cv2.circle(
                pixels,
                (x + int(rng.integers(-1, 2)), y + int(rng.integers(-1, 2))),
                1,
                (9, 9, 9),
                -1,
            )
    return pixels


def same_files(folder: Path, one: int, other: int) -> bool:
    """Return whether two result folders have files of the same bytes."""
    names = [
        *RESULT_FILES,
        *(f"findings/{path.name}" for path in (folder / str(one) / "findings").iterdir()),
    ]
    return all(
        (folder / str(one) / name).read_bytes() == (folder / str(other) / name).read_bytes()
        for name in names
    )


@pytest.mark.parametrize("killed_at", [(2,), (20,), (100,), (50, 130, 134), (200,)])
def test_a_scan_that_was_killed_and_resumed_has_the_same_bytes(
    tmp_path: Path, killed_at: tuple[int, ...]
) -> None:
    """SIGKILL at any tile, once or several times, leaves the bytes of an undisturbed scan.

    The last scan runs in this process; that of the next test, with ki67, in another one.
    """
    slide = a_slide(tmp_path / "a.svs", dotted(512, 416))
    for fence, at in enumerate(killed_at, start=2):
        assert scanned_elsewhere("dots", slide, tmp_path, fence, at) == {}
    timings = scan(Dots(), slide, tmp_path, 8, Listener())
    whole = scan(Dots(), slide, tmp_path / "alone", 9, Listener())
    (tmp_path / "alone" / "9").rename(tmp_path / "9")
    assert same_files(tmp_path, 8, 9)
    assert (timings["tiles"], whole["tiles"], whole["tiles_resumed"]) == (208, 208, 0)
    assert timings["tiles_resumed"] == max(at // 6 * 6 for at in killed_at)
    assert json.loads((tmp_path / "8" / "results.json").read_bytes())["counts"]["dot"] > 2000


def test_ki67_that_was_killed_and_resumed_has_the_same_bytes(tmp_path: Path) -> None:
    """The real algorithm computes its threshold again in another process, with the same result."""
    pixels = np.tile(section(seed=1).pixels, (2, 2, 1))
    slide = a_slide(tmp_path / "a.svs", pixels, tile=256)
    scanned_elsewhere("ki67", slide, tmp_path, 1, killed_at=8)
    assert scanned_elsewhere("ki67", slide, tmp_path, 2)["tiles_resumed"] == 6
    assert scanned_elsewhere("ki67", slide, tmp_path / "alone", 3)["tiles_resumed"] == 0
    (tmp_path / "alone" / "3").rename(tmp_path / "3")
    assert same_files(tmp_path, 2, 3)


class RecordingDots(Dots):
    """An algorithm that keeps its last classifier in `classifier`."""

    classifier: DotsClassifier

    def calibrate(self, samples: Pixels) -> DotsClassifier:
        self.classifier = super().calibrate(samples)
        return self.classifier


def test_tiles_before_the_mark_are_not_read_again(tmp_path: Path) -> None:
    """Tiles before the checkpoint are not read or classified, except samples for the threshold."""
    slide = a_slide(tmp_path / "a.svs", dotted(512, 416))
    model = RecordingDots()
    scanned_elsewhere("dots", slide, tmp_path, 1, killed_at=100)
    timings = scan(model, slide, tmp_path, 2, Listener())
    assert model.classifier.tiles == 208 - 96
    assert timings["read_bytes"] == (208 - 96) * 48 * 48 * 3


def test_a_scan_whose_threshold_came_out_otherwise_is_begun_anew(tmp_path: Path) -> None:
    """One result must not contain objects that were found with two thresholds."""
    slide = a_slide(tmp_path / "a.svs", dotted(512, 416))
    model = RecordingDots()
    scanned_elsewhere("dots", slide, tmp_path, 1, killed_at=100)
    a_slide(slide, dotted(512, 416) - 9)
    assert scan(model, slide, tmp_path, 2, Listener())["tiles_resumed"] == 0
    assert model.classifier.tiles == 208


@pytest.fixture(scope="module")
def gated_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a fleet with a gate, and write a slide of six tiles.

    A heartbeat is shorter than any wait at the gate, so a tile that waited there is followed by
    a checkpoint.
    """
    folder = tmp_path_factory.mktemp("resume")
    make_sample_slide(folder / "whole.svs", width_px=768, height_px=512)
    settings = {
        "SLIDELANE_WORKER__THREADS": "1",
        "SLIDELANE_BROKER__HEARTBEAT_S": str(LOOKS_EVERY_S / 2),
    }
    fleet = Fleet(folder / "data", [folder], settings)
    fleet.modules = ROLES | GATED
    with fleet:
        fleet.wait_ready()
        yield fleet


def checkpoint_tiles(fleet: Fleet) -> int:
    """Return how many tiles the furthest checkpoint on the disk has."""
    points = [path.read_text() for path in (fleet.data / UNFINISHED).glob("*/point.json")]
    return max((int(json.loads(point)["tiles"]) for point in points), default=0)


@pytest.mark.timeout(180)
def test_a_worker_killed_in_the_middle_of_a_slide_costs_only_what_was_not_marked(
    gated_fleet: Fleet,
) -> None:
    """The order is delivered once, its log says where it resumed, and no checkpoint is left."""
    with TechcyteReceiver(any_task=True) as lab:
        gated_fleet.gate.close(after=1)
        order_id = gated_fleet.order(
            **order_body(gated_fleet.data.parent, lab, algorithm="ki67", slide="whole.svs")
        )
        role = held(gated_fleet, order_id)
        gated_fleet.gate.close(after=2)  # a checkpoint is due after a tile that waited
        saved_tiles = wait_for(lambda: checkpoint_tiles(gated_fleet), what="a checkpoint")
        gated_fleet.kill(role)
        gated_fleet.gate.open()
        order = delivered(gated_fleet, order_id)
        assert len(lab.ledger) == 1
    gated_fleet.tend()
    timings = order["scans"][0]["timings"]
    log_text = log(gated_fleet, order_id)
    assert saved_tiles <= timings["tiles_resumed"] < timings["tiles"]
    assert f"the first {timings['tiles_resumed']:.0f} by an attempt that was lost" in log_text
    wait_for(
        lambda: not any((gated_fleet.data / UNFINISHED).iterdir()),
        what="the removal of checkpoints",
    )
