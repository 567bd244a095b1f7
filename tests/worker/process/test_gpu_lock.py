"""A GPU for each worker: real locks, held by real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.settings.config import ConfigError
from worker.process.gpu_lock import reserve_gpu

PAIR = ("GPU-a", "GPU-b")
HOLD = """
import sys
from pathlib import Path
from worker.process.gpu_lock import lock_least_shared
lock = lock_least_shared(Path(sys.argv[1]), sys.argv[2:])
print(lock.gpu, lock.sharers, flush=True)
sys.stdin.read()
"""


class Worker:
    """A process that takes a GPU, and holds it until it is killed."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        command = [sys.executable, "-c", HOLD, str(folder), *names]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        gpu, sharers = self.process.stdout.readline().split()
        self.gpu, self.sharers = gpu, int(sharers)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def workers(ends: ExitStack, folder: Path, names: tuple[str, ...], count: int) -> list[Worker]:
    started = []
    for _ in range(count):
        started.append(Worker(folder, names))
        ends.callback(started[-1].kill)
    return started


def test_each_worker_has_a_gpu_of_its_own_while_there_are_enough(
    ends: ExitStack, tmp_path: Path
) -> None:
    """Replicas that see the same GPUs take different ones."""
    names = tuple(f"GPU-{number}" for number in range(4))
    locked = workers(ends, tmp_path, names, 4)
    assert {worker.gpu for worker in locked} == set(names)
    assert {worker.sharers for worker in locked} == {0}


def test_more_workers_than_gpus_share_them_evenly(ends: ExitStack, tmp_path: Path) -> None:
    """None is refused, and none waits: a fifth worker on two GPUs is the third on one of them."""
    locked = workers(ends, tmp_path, PAIR, 5)
    assert sorted(worker.gpu for worker in locked) == ["GPU-a"] * 3 + ["GPU-b"] * 2
    assert [worker.sharers for worker in locked] == [0, 0, 1, 1, 2]


def test_the_gpu_of_a_killed_worker_is_free_at_once(ends: ExitStack, tmp_path: Path) -> None:
    """The kernel drops the lock: nothing is left behind that somebody would have to clean up."""
    first, second = workers(ends, tmp_path, PAIR, 2)
    first.kill()
    (after,) = workers(ends, tmp_path, PAIR, 1)
    assert (after.gpu, after.sharers) == (first.gpu, 0)
    assert second.gpu != after.gpu


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_machine_without_gpus_takes_none_and_asks_nobody(device: str, tmp_path: Path) -> None:
    """A worker on CPUs starts without loading torch twice, and leaves no lock behind."""
    if device == "auto" and any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    assert reserve_gpu(device, tmp_path) is None
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_not_there_stops_the_start_with_its_name(tmp_path: Path) -> None:
    """The message names the setting and what torch sees, without a trace."""
    with pytest.raises(
        ConfigError, match=r"^worker.device: cuda:99 is a GPU that torch does not see"
    ):
        reserve_gpu("cuda:99", tmp_path)
