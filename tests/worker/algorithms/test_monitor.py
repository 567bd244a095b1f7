"""What a worker announces of its algorithms, and how it finds out that one cannot be loaded."""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from broker.order_store import OrderStore
from broker.settings.config import AlgorithmSettings, ConfigError, WorkerSettings
from tests.support.networks import Answers, Layers, a_network, an_exported_network
from tests.support.slides import a_picture
from tests.support.stack import wait_for
from worker.algorithms import registry
from worker.algorithms.check import LoadCheck
from worker.algorithms.monitor import AlgorithmMonitor
from worker.algorithms.networks.trained_network import TrainedNetwork
from worker.algorithms.torch_device.device import resolve
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.process.heartbeat import Heartbeat


def entry_of(folder: Path, **more: Any) -> AlgorithmSettings:
    return AlgorithmSettings(kind="weights", folder=folder, **more)


def check_of(folder: Path) -> LoadCheck:
    entry = entry_of(folder)
    return LoadCheck(registry.card("zoo", entry), entry, "cpu")


def announced(store: OrderStore, name: str, settings: WorkerSettings) -> None:
    """Let a worker of this name look at its algorithms once and send its heartbeat."""
    heartbeat = Heartbeat(store, name, list(settings.queues), {})
    AlgorithmMonitor(settings, "", heartbeat)
    heartbeat.beat()


def test_a_worker_speaks_only_of_what_waits_on_its_queues(store: OrderStore) -> None:
    """A small machine without the model of the large one disables nothing of it."""
    algorithms = {
        "tumour": AlgorithmSettings(kind="grid", parameters={"rows": 0}, queue="gpu-24g"),
        "grid": AlgorithmSettings(kind="grid"),
    }
    announced(store, "gpu-1@small", WorkerSettings(algorithms=algorithms))
    assert store.unavailable() == {}
    announced(store, "gpu-1@large", WorkerSettings(algorithms=algorithms, queues=("gpu-24g",)))
    assert list(store.unavailable()) == ["tumour"]


def test_one_worker_that_can_run_it_is_enough(store: OrderStore) -> None:
    """It is unavailable only when every worker says so; what waits says the same."""
    wrong = AlgorithmSettings(kind="grid", parameters={"rows": 0})
    announced(store, "gpu-1@a", WorkerSettings(algorithms={"grid": wrong}))
    assert "worker.algorithms.grid: config: parameters.rows" in store.unavailable()["grid"]
    right = AlgorithmSettings(kind="grid")
    announced(store, "gpu-1@b", WorkerSettings(algorithms={"grid": right}))
    assert store.unavailable() == {}
    store.leave("gpu-1@b")
    assert list(store.unavailable()) == ["grid"]
    store.leave("gpu-1@a")
    assert store.unavailable() == {}, "nobody says anything: orders wait for a worker"
    assert "grid" in store.cards()


def test_a_damaged_card_does_not_hide_the_others(store: OrderStore) -> None:
    """One that is no JSON, one of another shape; fields of a newer version are left out."""
    announced(store, "w", WorkerSettings(algorithms={"grid": AlgorithmSettings(kind="grid")}))
    records = store._client.records
    grid = records.hget("sl:cards", "grid")
    records.hset("sl:cards", "broken", '{"name": ')
    records.hset("sl:cards", "odd", "[1]")
    records.hset("sl:cards", "empty", "{}")
    records.hset("sl:cards", "newer", '{"of_the_future": 1, ' + grid[1:])
    assert list(store.cards()) == ["grid", "newer"]
    records.set("sl:worker:w", "no JSON")
    assert store.workers() == []


def test_a_network_that_loads_has_no_fault(tmp_path: Path) -> None:
    """It was loaded by a process of its own, on the device of the settings."""
    assert check_of(a_network(tmp_path / "zoo")).run(Event()).fault == ""


def test_a_network_that_answers_wrongly_is_told(tmp_path: Path) -> None:
    """With what it answered and what its config.json requires."""
    fault = check_of(a_network(tmp_path / "zoo", Answers(2))).run(Event()).fault
    assert fault.startswith("worker.algorithms.zoo: config.json: tiles: outputs.logits has shape ")
    assert "classes says 3" in fault


def test_a_process_that_crashes_while_it_loads_disables_one_algorithm(tmp_path: Path) -> None:
    """Killed from outside, as a crash of native code or the kernel would end it."""
    check = check_of(a_network(tmp_path / "zoo"))
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(check.run, Event())
        pid = wait_for(checking_process, what="the process")
        os.kill(pid, signal.SIGKILL)
        assert checked.result(timeout=60).fault == (
            "worker.algorithms.zoo: its process ended with -9 while it was loaded"
        )


def test_a_worker_that_stops_leaves_no_check_behind(tmp_path: Path) -> None:
    """The check ends with it, however far it is."""
    stopped = Event()
    check = check_of(a_network(tmp_path / "zoo"))
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(check.run, stopped)
        wait_for(checking_process, what="the process")
        stopped.set()
        checked.result(timeout=60)
    assert checking_process() is None


def checking_process() -> int | None:
    """The child of this process that loads a network."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"worker.algorithms.check" in command:
            return int(status.parent.name)
    return None


@pytest.mark.parametrize("changed", ["config.json", "torchscript_model.pt"])
def test_card_and_network_are_never_of_two_versions(tmp_path: Path, changed: str) -> None:
    """A file is replaced after the card was made: the network is not used, nor kept for the next
    scan; with a new card it is."""
    folder, other = a_network(tmp_path / "zoo", Layers()), a_network(tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    entry = entry_of(folder)
    old = registry.card("zoo", entry)
    shutil.copy(other / changed, tmp_path / "next")
    (tmp_path / "next").replace(folder / changed)
    with pytest.raises(ConfigError, match="files of the folder were changed while they were read"):
        TrainedNetwork(old, entry, resolve("cpu"), MAX_BATCH_BYTES)
    new = registry.card("zoo", entry)
    assert new.digest != old.digest
    assert TrainedNetwork(new, entry, resolve("cpu"), MAX_BATCH_BYTES).card == new


@pytest.mark.parametrize("make", [a_network, an_exported_network])
def test_a_network_that_runs_stays_what_it_was(tmp_path: Path, make: Any) -> None:
    """Its file is written over in place while a scan uses it: the answers are the same."""
    folder = make(tmp_path / "zoo", Layers())
    entry = entry_of(folder)
    network = TrainedNetwork(registry.card("zoo", entry), entry, resolve("cpu"), MAX_BATCH_BYTES)
    batch = np.stack([a_picture(64, 64, seed) for seed in range(4)])
    classifier = network.calibrate(batch[:0])
    before = classifier.classify(batch)
    (file,) = [path for path in folder.iterdir() if path.name != "config.json"]
    file.write_bytes(bytes(file.stat().st_size))
    assert (classifier.classify(batch) == before).all()
