"""Memory that a GPU copies from: pinned once, let go before it is unmapped. A recorder stands in
for CUDA."""

import ctypes
import mmap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from tests.support.slides import a_picture, a_slide
from worker.algorithms.torch_device.device import Device
from worker.algorithms.torch_device.pinned_memory import PinnedMemory
from worker.geometry.frame import Pixels
from worker.slides.sandbox.client import Sandbox
from worker.slides.sandbox.shared_memory import SLOT_BYTES, SharedPixels

SHAPE = (8, 64, 64, 3)
SIZE_BYTES = 8 * 64 * 64 * 3


class Recorder:
    """What is pinned by its start, what ever was, and what the first byte was when it was let
    go."""

    def __init__(self, *, can: bool = True) -> None:
        self.memory = PinnedMemory(self)
        self._can = can
        self.held: dict[int, int] = {}
        self.requests: list[tuple[int, int]] = []
        self.first_bytes: list[int] = []

    def register(self, start: int, size_bytes: int) -> bool:
        self.requests.append((start, size_bytes))
        if self._can:
            self.held[start] = size_bytes
        return self._can

    def unregister(self, start: int) -> None:
        self.first_bytes.append(
            ctypes.c_uint8.from_address(start).value
        )  # ends the process where nothing is mapped
        del self.held[start]


def slots(shared: SharedPixels, count: int) -> list[Pixels]:
    """Memory for so many threads."""
    found = [shared.slot(number, SHAPE) for number in range(count)]
    return [slot for slot in found if slot is not None]


def address(slot: Pixels) -> int:
    return int(slot.ctypes.data)


def test_each_slot_is_pinned_once_whole_however_many_batches_and_threads_come() -> None:
    """Views of a slot are no other memory than the slot."""
    recorder = Recorder()
    spaces = slots(SharedPixels(4), 4)
    batches = [
        space[start : start + 2] for _ in range(50) for space in spaces for start in (0, 2, 4, 6)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(recorder.memory.hold, batches))
    assert sorted(recorder.requests) == sorted((address(space), SIZE_BYTES) for space in spaces)


def test_a_slot_stays_pinned_until_its_last_view_is_gone_even_when_the_memory_is_closed_before() -> (
    None
):
    """And it is still mapped when it is let go."""
    recorder = Recorder()
    shared = SharedPixels(2)
    (slot, _) = slots(shared, 2)
    slot[:] = 7
    recorder.memory.hold(slot[:2])
    view = torch.from_numpy(slot[1:2])
    shared.close()
    del slot, shared
    assert len(recorder.held) == 1
    assert view.min() == 7
    del view
    assert recorder.held == {}
    assert recorder.first_bytes == [7]


def test_the_next_scan_pins_the_same_slot_anew_whatever_it_needs() -> None:
    """Networks differ in their tiles, so that the next one may use more of a slot, or less."""
    recorder = Recorder()
    shared = SharedPixels(1)
    for shape in (SHAPE, (100, 8, 8, 3), (9, 128, 128, 3)):
        slot = shared.slot(0, shape)
        assert slot is not None
        assert recorder.memory.hold(slot)
        assert list(recorder.held.values()) == [slot.nbytes]
        del slot
    assert recorder.held == {}


def test_what_is_pinned_in_part_for_another_array_is_not_to_be_copied_from() -> None:
    """CUDA refuses to copy what begins in pinned memory and ends in other."""
    recorder = Recorder()
    shared = SharedPixels(1)
    small = shared.slot(0, SHAPE)
    large = shared.slot(0, (2, *SHAPE))
    assert small is not None
    assert large is not None
    assert recorder.memory.hold(small)
    assert not recorder.memory.hold(large[1:])
    assert len(recorder.requests) == 1
    del small
    assert recorder.held == {}


def test_memory_that_begins_within_a_page_is_left_as_it_is() -> None:
    """Others may have theirs on the same page."""
    recorder = Recorder()
    mapped = mmap.mmap(-1, SLOT_BYTES)
    assert recorder.memory.hold(np.frombuffer(memoryview(mapped)[1:], np.uint8))
    whole = np.zeros(SLOT_BYTES, np.uint8)
    within = np.frombuffer(memoryview(whole)[1 + -address(whole) % 4096 :], np.uint8)
    assert recorder.memory.hold(within)
    assert recorder.memory.hold(np.empty((0, 64, 64, 3), np.uint8))
    assert recorder.requests == []


def test_memory_that_cannot_be_pinned_is_tried_once_and_copied_from_all_the_same() -> None:
    """The scan is slower then, and nothing is let go that was never held."""
    recorder = Recorder(can=False)
    (slot,) = slots(SharedPixels(1), 1)
    assert all(recorder.memory.hold(slot[start : start + 1]) for start in range(8))
    assert len(recorder.requests) == 1
    del slot
    assert recorder.first_bytes == []


def test_all_that_a_sandboxed_slide_gives_to_work_in_can_be_pinned_and_is_let_go_with_it(
    tmp_path: Path,
) -> None:
    """The slide is closed before its memory is."""
    recorder = Recorder()
    with Sandbox(2).open(a_slide(tmp_path / "a.svs", a_picture(203, 151))) as slide:
        spaces = [slide.workspace(number, SHAPE) for number in range(2)]
        for space in spaces:
            slide.fill_tiles(space[:1], [(0.0, 0.0)], 1.0, 1.0)
            recorder.memory.hold(space[:1])
        assert len(recorder.held) == 2
    del spaces, space
    assert recorder.held == {}
    assert len(recorder.first_bytes) == 2


def test_on_a_cpu_a_batch_is_where_it_was() -> None:
    """Nothing is copied that is there already."""
    batch = np.zeros((2, 8, 8, 3), np.uint8)
    device = Device(torch.device("cpu"))
    with device.turn():
        assert device.copied(batch).data_ptr() == address(batch)
