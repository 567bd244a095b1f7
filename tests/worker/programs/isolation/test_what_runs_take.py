"""What a run takes of the machine, and that its folder goes whatever it has done there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from worker.programs.isolation.grants import offered
from worker.programs.isolation.watch import remove_folder, takes_too_much_disk

REMOVES = """
import sys
from pathlib import Path
from worker.programs.isolation.watch import remove_folder
folder = Path(sys.argv[1])
inner = folder / "closed" / "inner"
inner.mkdir(parents=True)
(inner / "file").touch()
inner.chmod(0)
inner.parent.chmod(0o500)
remove_folder(folder)
"""
RESERVES = """
from contextlib import ExitStack
from worker import linux
from worker.programs.isolation.watch import reserved_cores
linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNET)
with ExitStack() as first:
    print(*reserved_cores(1, first))
    with ExitStack() as second:
        print(*reserved_cores(10_000, second))
with ExitStack() as last:
    print(*reserved_cores(10_000, last))
"""


def test_closed_folders_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    """As an ordinary user, whom the modes of folders stop; root would not notice."""
    if not offered().namespaces:
        pytest.skip("no namespaces are granted, so the test cannot become an ordinary user")
    (tmp_path / "removes.py").write_text(REMOVES)
    subprocess.run(
        [sys.executable, "-m", "tests.support.refused_namespaces", "", "removes", tmp_path / "run"],
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        check=True,
    )
    assert not (tmp_path / "run").exists()
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o750)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "link").symlink_to(kept)
    remove_folder(tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert kept.stat().st_mode & 0o777 == 0o750


def test_files_in_all_folders_count(tmp_path: Path) -> None:
    """By what they take of the disk: a hole in a file takes nothing."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "full").write_bytes(bytes(2**20))
    with (inner / "hole").open("wb") as file:
        file.truncate(2**40)
    assert takes_too_much_disk(tmp_path, 2**20)
    assert not takes_too_much_disk(tmp_path, 2**21)


def test_a_core_is_given_twice_only_where_none_is_left() -> None:
    """What is reserved becomes free with its run. In a network where nobody else reserves any."""
    if not offered().own_network:
        pytest.skip("no namespaces are granted")
    done = subprocess.run(
        [sys.executable, "-c", RESERVES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, others, again = [line.split() for line in done.stdout.splitlines()]
    assert len(first) == 1
    assert others[-1:] == first
    assert sorted(again) == sorted(others)
    assert again[:1] == first
