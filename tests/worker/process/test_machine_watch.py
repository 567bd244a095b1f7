"""What a worker tells of its machine."""

from pathlib import Path
from threading import Event

from broker.order_store import OrderStore
from worker.process.heartbeat import Heartbeat
from worker.process.machine_watch import MachineWatch, gpus_in

ANSWER = """GPU-aaa, NVIDIA H200, 143771, 143000
GPU-bbb, NVIDIA GB10, [N/A], [N/A]
"""


def test_the_heartbeat_tells_of_cores_memory_and_disk(store: OrderStore, tmp_path: Path) -> None:
    """From the first look on; a courier uses no GPU and asks for none."""
    heartbeat = Heartbeat(store, "courier@a.1", ["fetch"], {})
    stopped = Event()
    stopped.set()
    MachineWatch(heartbeat, tmp_path, has_gpus=False).run(stopped)
    heartbeat.beat()
    (worker,) = store.workers()
    assert worker.machine is not None
    assert worker.machine["cores"] > 0
    assert 0 < worker.machine["memory_free_bytes"] <= worker.machine["memory_bytes"]
    assert 0 < worker.machine["disk_free_bytes"] <= worker.machine["disk_bytes"]
    assert worker.machine["gpus"] == []


def test_gpus_are_read_as_the_driver_tells_them() -> None:
    """With their memory in bytes; one that shares the machine's memory has none of its own."""
    first, second = gpus_in(ANSWER, "")
    assert first == {
        "id": "GPU-aaa",
        "name": "NVIDIA H200",
        "memory_bytes": 143771 * 2**20,
        "memory_free_bytes": 143000 * 2**20,
    }
    assert (second["memory_bytes"], second["memory_free_bytes"]) == (None, None)


def test_only_the_gpu_that_the_worker_reserved_is_told() -> None:
    """By its name; a number names another GPU for the driver than for CUDA, and chooses none."""
    assert [gpu["id"] for gpu in gpus_in(ANSWER, "GPU-bbb")] == ["GPU-bbb"]
    assert len(gpus_in(ANSWER, "0")) == 2
    assert gpus_in("NVIDIA-SMI has failed because it could not talk to the driver\n", "") == []
