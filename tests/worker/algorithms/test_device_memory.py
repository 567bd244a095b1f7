"""A batch that does not fit is tried in halves; threads share what memory is free."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from broker.errors import TemporaryError
from worker.algorithms.torch_device.memory import sparing
from worker.geometry.frame import Pixels
from worker.process.cgroup_limits import granted_cores


def test_a_batch_too_large_is_halved_until_it_fits() -> None:
    """Every tile is answered once, in order."""
    sizes: list[int] = []

    def run(batch: Pixels) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [int(tile.flat[0]) for tile in batch]

    batch = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    assert sparing(run, batch) == list(range(7))
    assert sizes[0] == 7


def test_one_tile_too_large_is_worth_another_try_elsewhere() -> None:
    """It is the device's fault, not the slide's."""

    def run(_: Pixels) -> list[int]:
        raise MemoryError

    with pytest.raises(TemporaryError) as caught:
        sparing(run, np.zeros((3, 1, 1, 1), np.uint8))
    assert caught.value.code == "out_of_memory"


_THREADS = """
import ctypes, sys, threading
from worker.process.freed_memory import keep_freed

libc = ctypes.CDLL(None)
libc.fopen.restype, libc.malloc.restype = ctypes.c_void_p, ctypes.c_void_p
keep_freed()
all_there, threads = threading.Barrier(13), []
for _ in range(12):
    threads.append(threading.Thread(target=lambda: (libc.malloc(100_000), all_there.wait())))
    threads[-1].start()
all_there.wait()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc"
)
def test_threads_share_as_many_heaps_as_there_are_cores(tmp_path: Path) -> None:
    """A region has threads of its own: with a heap for each a worker held 1.7 GB after some hundred
    of them."""
    subprocess.run([sys.executable, "-c", _THREADS, str(tmp_path / "heaps.xml")], check=True)
    assert 1 <= (tmp_path / "heaps.xml").read_text().count("<heap nr=") <= granted_cores()
