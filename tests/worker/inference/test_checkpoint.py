"""Unfinished work: an attempt that takes over goes on from the last mark, and from nothing that
cannot be trusted."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.results import equal, nuclei
from worker.inference.checkpoint import Checkpoint, Point, unfinished
from worker.results.object_store import ObjectStore
from worker.results.objects import joined

WORK = "digest"
TILES = 100
SEAMS = ((3, 0.1 + 0.2, 1e300 / 3, 0), (4, 5e-324, -1.5, 2))


def attempt(folder: Path, fence: int, every_s: float = 0) -> Checkpoint:
    return Checkpoint(folder / f"order.0.{fence}", every_s)


def marked(
    folder: Path, fence: int = 1, tiles: int = 10, work: str = WORK
) -> tuple[Checkpoint, ObjectStore]:
    """An attempt that was lost: of its nine nuclei the last five lie behind its mark."""
    checkpoint = attempt(folder, fence)
    store, _ = checkpoint.begin(work, TILES)
    store.append(nuclei(4, seed=tiles))
    checkpoint.mark(store, Point(work, tiles, len(store), SEAMS))
    store.append(nuclei(5))
    return checkpoint, store


def is_fresh(begun: tuple[ObjectStore, Point]) -> bool:
    return len(begun[0]) == 0 and begun[1] == Point(WORK, 0, 0, ())


def test_the_next_attempt_has_what_was_marked_and_not_what_came_behind(tmp_path: Path) -> None:
    """Objects, tiles and seams are those of the mark to the last bit, and can be gone on with."""
    marked(tmp_path)
    store, point = attempt(tmp_path, 3).begin(WORK, TILES)
    assert (point.tiles, point.objects) == (10, 4)
    assert tuple(map(tuple, point.seams)) == SEAMS
    store.append(nuclei(2))
    assert equal(joined(list(store.chunks())), joined([nuclei(4, seed=10), nuclei(2)]))


def test_an_attempt_goes_on_from_a_mark_without_objects(tmp_path: Path) -> None:
    """The first tiles may hold nothing: the mark counts all the same, and objects can follow."""
    checkpoint = attempt(tmp_path, 1)
    empty, _ = checkpoint.begin(WORK, TILES)
    checkpoint.mark(empty, Point(WORK, 10, 0, ()))
    store, point = attempt(tmp_path, 2).begin(WORK, TILES)
    assert (point.tiles, len(store)) == (10, 0)
    store.append(nuclei(2))
    assert equal(joined(list(store.chunks())), nuclei(2))


def test_what_was_found_before_the_scan_was_asked_for_once_more_is_left_alone(
    tmp_path: Path,
) -> None:
    """It may be why that life of the scan failed; a courier elsewhere could not remove it from this
    machine."""
    marked(tmp_path, fence=2, tiles=60)
    marked(tmp_path, fence=5, tiles=20)
    _, point = Checkpoint(tmp_path / "order.0.6", since=4).begin(WORK, TILES)
    assert point.tiles == 20
    assert is_fresh(Checkpoint(tmp_path / "order.0.7", since=6).begin(WORK, TILES))


def test_an_attempt_that_still_writes_disturbs_nothing(tmp_path: Path) -> None:
    """One that was only thought dead goes on in its own folder; the copy stays what it was."""
    zombie, theirs = marked(tmp_path)
    store, _ = attempt(tmp_path, 2).begin(WORK, TILES)
    theirs.append(nuclei(50))
    zombie.mark(theirs, Point(WORK, 60, len(theirs), ()))
    assert equal(joined(list(store.chunks())), nuclei(4, seed=10))


def test_the_attempt_that_came_furthest_is_gone_on_with(tmp_path: Path) -> None:
    """Not the last one, which may have begun anew; and never one that came later than ours."""
    for fence, tiles in ((1, 30), (2, 10), (9, 90)):
        (tmp_path / str(fence)).mkdir()
        marked(tmp_path / str(fence), fence, tiles)
        (tmp_path / str(fence) / f"order.0.{fence}").rename(tmp_path / f"order.0.{fence}")
    assert attempt(tmp_path, 3).begin(WORK, TILES)[1].tiles == 30


def test_other_work_is_not_gone_on_with(tmp_path: Path) -> None:
    """Another slide, other parameters, another algorithm; another scan of the order; another
    order."""
    marked(tmp_path, work="another digest")
    Checkpoint(tmp_path / "order.1.1").begin(WORK, TILES)
    assert is_fresh(attempt(tmp_path, 2).begin(WORK, TILES))
    marked(tmp_path, fence=3)
    for name in ("order.1.5", "order.00.5", "other.0.5"):
        assert is_fresh(Checkpoint(tmp_path / name).begin(WORK, TILES))


GOOD = {"work": WORK, "tiles": 10, "objects": 4, "seams": []}


@pytest.mark.parametrize(
    "point",
    [
        "",
        "{",
        "null",
        "[]",
        '{"work": "digest"}',
        "\u0000",
        "[" * 100_000,
        *(
            json.dumps(GOOD | wrong)
            for wrong in (
                {"tiles": -2},
                {"tiles": TILES + 1},
                {"tiles": 1.5},
                {"tiles": "10"},
                {"objects": -1},
                {"objects": 10},
                {"objects": 10**18},
                {"seams": [[1, 2, 3]]},
                {"seams": [[1, float("nan"), 0, 0]]},
                {"seams": 3},
                {"seams": [[1, float("inf"), 0, 0]]},
            )
        ),
    ],
)
def test_a_mark_that_is_damaged_is_not_believed(tmp_path: Path, point: str) -> None:
    """Truncated, of another shape, with impossible numbers, or with more objects than there are:
    begun anew."""
    marked(tmp_path)
    (tmp_path / "order.0.1" / "point.json").write_text(point)
    assert is_fresh(attempt(tmp_path, 2).begin(WORK, TILES))


@pytest.mark.parametrize("column", ["centres", "scores", "classes", "lengths", "points"])
@pytest.mark.parametrize("left_bytes", [None, 0, 7])
def test_an_object_store_that_lacks_something_is_not_gone_on_with(
    tmp_path: Path, column: str, left_bytes: int | None
) -> None:
    """Its worker may end it meanwhile, or the disk lost a part: nothing is filled up with zeros."""
    _, store = marked(tmp_path)
    if left_bytes is None:
        (store.folder / column).unlink()
    else:
        (store.folder / column).write_bytes((store.folder / column).read_bytes()[:left_bytes])
    assert is_fresh(attempt(tmp_path, 2).begin(WORK, TILES))


def test_a_mark_is_due_when_its_time_has_come(tmp_path: Path) -> None:
    """Neither at once nor never, and every mark begins the time anew."""
    assert attempt(tmp_path, 1, every_s=0).due()
    assert not attempt(tmp_path, 1, every_s=3600).due()


def test_a_mark_makes_what_was_before_it_superfluous(tmp_path: Path) -> None:
    """Until then the folders of earlier attempts stay: ours may be lost before it says anything."""
    marked(tmp_path)
    checkpoint = attempt(tmp_path, 2)
    store, point = checkpoint.begin(WORK, TILES)
    assert (tmp_path / "order.0.1").exists()
    checkpoint.mark(store, point)
    assert not (tmp_path / "order.0.1").exists()
    assert attempt(tmp_path, 3).begin(WORK, TILES)[1].tiles == 10


def test_a_mark_that_finds_no_room_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scan goes on, and the mark before it still counts."""
    checkpoint, store = marked(tmp_path)
    (tmp_path / "order.0.1" / "point.new").symlink_to("/dev/full")
    checkpoint.mark(store, Point(WORK, 20, len(store), ()))
    assert "No space left" in caplog.text
    assert attempt(tmp_path, 2).begin(WORK, TILES)[1].tiles == 10


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=256k small "$1" && cp -r "$2" "$1" && (head -c 1m /dev/zero > "$1/filler" || true) 2>/dev/null
exec "$0" -c "
from pathlib import Path
from worker.inference.checkpoint import Checkpoint
try:
    Checkpoint(Path('$1/order.0.2')).begin('digest', 100)
except OSError as error:
    print(error.errno, sorted(path.name for path in Path('$1').iterdir()))
"
"""


def test_a_copy_that_finds_no_room_is_made_later(tmp_path: Path) -> None:
    """To begin at tile 0 would need as much room; what was found so far stays where it is."""
    (tmp_path / "disk").mkdir()
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    marked(tmp_path)
    script = [
        "sh",
        "-c",
        ON_A_SMALL_DISK,
        sys.executable,
        str(tmp_path / "disk"),
        str(tmp_path / "order.0.1"),
    ]
    done = subprocess.run(
        ["unshare", "-rm", *script], capture_output=True, check=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == f"{errno.ENOSPC} ['filler', 'order.0.1']", done.stderr


def test_an_attempt_learns_that_its_folder_was_removed(tmp_path: Path) -> None:
    """Taken over or ended: its next mark fails as its next object does, and it can tell that from a
    bug."""
    checkpoint, store = marked(tmp_path)
    assert not checkpoint.gone
    attempt(tmp_path, 2).clear()
    for write in (
        lambda: store.append(nuclei(1)),
        lambda: checkpoint.mark(store, Point(WORK, 20, 9, ())),
    ):
        with pytest.raises(FileNotFoundError):
            write()
    assert checkpoint.gone
    assert not attempt(tmp_path, 3).gone


def test_clearing_leaves_nothing_of_this_scan_and_all_of_others(tmp_path: Path) -> None:
    """Whoever began it; a later attempt's folder is not ours to remove. Clearing nothing is no
    fault."""
    for name in (
        "order.0.1",
        "order.0.2",
        "order.0.5",
        "order.1.1",
        "order.00.1",
        "order.0.x",
        "other.0.1",
    ):
        (tmp_path / name / "found").mkdir(parents=True)
    attempt(tmp_path, 2).clear()
    left = {"order.0.5", "order.1.1", "order.00.1", "order.0.x", "other.0.1"}
    assert {path.name for path in tmp_path.iterdir()} == left
    attempt(tmp_path / "nowhere", 2).clear()


def test_all_unfinished_work_can_be_listed(tmp_path: Path) -> None:
    """With the scan that it belongs to; what is none of ours is left alone."""
    folder = tmp_path / "results" / ".unfinished"
    for name in ("a.0.1", "a.0.2", "b.12.3", "a.x.1", "a.0", ".nfs.1.x", "a.0.1.2"):
        (folder / name).mkdir(parents=True)
    works = [(path.name, work) for path, work in unfinished(tmp_path)]
    assert sorted(works) == [("a.0.1", "a.0"), ("a.0.2", "a.0"), ("b.12.3", "b.12")]
    assert list(unfinished(tmp_path / "nowhere")) == []
