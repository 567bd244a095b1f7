"""A courier that looks at watched folders: each slide is taken once, and none is lost."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.order_store import OrderStore
from broker.order_store.arrivals import Arrival
from broker.settings.services.policies import WatchedFolder
from tests.support.dicom_files import a_dicom_slide
from worker.watch.watcher import Watcher, modality_of

KEEP_S = 3600.0
Watch = Callable[..., Watcher]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.fixture
def watch(store: OrderStore, folder: Path) -> Watch:
    """A courier at the folder, which looks when it is told to."""

    def a_watcher(courier: str = "one", keep_s: float = KEEP_S, **more: Any) -> Watcher:
        settings = WatchedFolder(path=folder, interval_s=0.05, **more)
        return Watcher(settings, store.arrivals, courier, keep_s)

    return a_watcher


def paths(arrivals: list[Arrival]) -> list[str]:
    return sorted(arrival.relative for arrival in arrivals)


def test_a_slide_arrives_once_it_stands_still(
    watch: Watch, store: OrderStore, folder: Path
) -> None:
    """While a copy grows it is looked at only; after two equal looks it is taken, once."""
    watcher = watch(labels_from="{case}_{stain}.svs", labels={"lab": "x"}, mpp=0.5)
    assert watcher.look() == 0
    slide = folder / "S1_Ki67.svs"
    for size in (1, 2, 3):
        slide.write_bytes(b"x" * size)
        assert watcher.look() == 0
    assert [watcher.look(), watcher.look(), watcher.look()] == [1, 0, 0]
    (arrival,) = store.arrivals.take()
    assert (arrival.path, arrival.relative) == (str(slide), "S1_Ki67.svs")
    assert (arrival.stain, arrival.labels) == ("Ki67", {"lab": "x", "case": "S1"})
    assert (arrival.mpp, arrival.modality) == (0.5, None)


@pytest.mark.parametrize(("existing", "expected"), [("skip", []), ("order", ["old.svs"])])
def test_existing_slides(
    watch: Watch, store: OrderStore, folder: Path, existing: str, expected: list[str]
) -> None:
    """What is there when the folder is first watched is passed over, or ordered if that is set."""
    (folder / "old.svs").write_bytes(b"x")
    watcher = watch(existing=existing)
    for _ in range(3):
        watcher.look()
    assert paths(store.arrivals.take()) == expected


def test_what_came_while_no_courier_ran_is_taken(
    watch: Watch, store: OrderStore, folder: Path
) -> None:
    """A restart is no first start: the record says what was taken before."""
    watch().look()
    (folder / "new.svs").write_bytes(b"x")
    later = watch("one")
    assert [later.look(), later.look()] == [0, 1]
    assert paths(store.arrivals.take()) == ["new.svs"]


def test_a_moved_and_a_scanned_again_slide_are_new(
    watch: Watch, store: OrderStore, folder: Path
) -> None:
    """Path, size and time tell a slide."""
    watcher = watch()
    watcher.look()
    (folder / "a.svs").write_bytes(b"x")
    assert [watcher.look(), watcher.look()] == [0, 1]
    (folder / "a.svs").rename(folder / "b.svs")
    assert [watcher.look(), watcher.look()] == [0, 1]
    os.utime(folder / "b.svs", ns=(0, 10**9))
    assert [watcher.look(), watcher.look(), watcher.look()] == [0, 1, 0]
    assert paths(store.arrivals.take()) == ["a.svs", "b.svs", "b.svs"]


def test_two_couriers_take_each_slide_once(watch: Watch, store: OrderStore, folder: Path) -> None:
    """One looks at a time; and where both do, because one was paused, each slide is taken once."""
    first = watch("one")
    second = watch("two")
    assert [first.look(), second.look()] == [0, 0]
    for number in range(40):
        (folder / f"{number}.svs").write_bytes(b"x")
    first.look()
    assert second.look() == 0
    first.stop()
    assert second.look() == 0
    second.stop()
    results: list[int] = []

    def take(watcher: Watcher) -> None:
        for _ in range(3):
            results.append(watcher.look())
            watcher.stop()

    threads = [threading.Thread(target=take, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(results) == 40
    assert len(store.arrivals.take()) == 40


def test_a_courier_that_dies_is_followed_by_another(
    watch: Watch, store: OrderStore, folder: Path
) -> None:
    """The lease of a killed courier ends; the slide that it had not taken is taken, no other twice."""
    first = watch("one")
    first.look()
    (folder / "a.svs").write_bytes(b"x")
    assert [first.look(), first.look()] == [0, 1]
    (folder / "b.svs").write_bytes(b"x")
    first.look()
    second = watch("two")
    until = time.monotonic() + 20
    while second.look() == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert paths(store.arrivals.take()) == ["a.svs", "b.svs"]


def test_a_disk_that_is_away_for_a_while_brings_no_new_slides(
    watch: Watch, store: OrderStore, folder: Path
) -> None:
    """An empty or missing folder forgets nothing; a slide that was removed is forgotten later."""
    watcher = watch()
    watcher.look()
    for name in ("a.svs", "b.svs"):
        (folder / name).write_bytes(b"x")
    assert [watcher.look(), watcher.look()] == [0, 2]
    folder.rename(folder.with_name("away"))
    assert watcher.look() == 0
    folder.mkdir()
    assert watcher.look() == 0
    folder.rmdir()
    folder.with_name("away").rename(folder)
    assert [watcher.look(), watcher.look()] == [0, 0]
    (folder / "b.svs").unlink()
    assert watcher.look() == 0
    assert store.arrivals.away(watcher.folder) == {"b.svs"}
    watcher.stop()
    hasty = watch("two", keep_s=0)
    hasty.look()
    hasty.look()
    assert set(store.arrivals.taken(watcher.folder) or {}) == {"a.svs"}


def test_ten_thousand_slides_are_cheap(watch: Watch, store: OrderStore, folder: Path) -> None:
    """A look at a folder in which nothing is new costs listing it: no slide is read or asked for."""
    for number in range(10_000):
        (folder / f"{number}.svs").touch()
    watcher = watch()
    assert watcher.look() == 0
    begun = time.process_time()
    for _ in range(3):
        assert watcher.look() == 0
    assert time.process_time() - begun < 3
    assert store.arrivals.take() == []
    (view,) = store.arrivals.watched()
    assert (view.look.slides, view.look.arriving, view.courier) == (10_000, 0, "one")


def test_the_modality_of_dicom_files_is_read(tmp_path: Path) -> None:
    """From the header of the largest file; a damaged one has none."""
    level = tmp_path / "a.dcm"
    a_dicom_slide(level, np.zeros((64, 64, 3), np.uint8), Modality="SM")
    assert modality_of(level) == "SM"
    level.write_bytes(level.read_bytes()[:200])
    assert modality_of(level) is None
    assert modality_of(tmp_path / "a.svs") is None
