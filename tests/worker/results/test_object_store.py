"""Objects on the disk: as they were, in order, and never many at a time in memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support.paths import ROOT
from tests.support.results import equal, nuclei, objects
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, joined


def test_what_is_appended_comes_back_in_order_to_the_last_bit(tmp_path: Path) -> None:
    """Piece by piece, empty pieces included, whatever the pieces were."""
    store = ObjectStore.begin(tmp_path / "found")
    given = [nuclei(3), objects([], []), nuclei(CHUNK + 5, seed=1), nuclei(1)]
    for piece in given:
        store.append(piece)
    read = list(ObjectStore(tmp_path / "found").chunks())
    assert equal(joined(read), joined(given))
    assert [len(chunk) for chunk in read] == [CHUNK, 9]
    assert len(store) == CHUNK + 9
    assert store.counts(3) == [*joined(given).counts(2), 0]


def test_nothing_found_is_no_chunk(tmp_path: Path) -> None:
    """An empty store has no objects, and says so without an error."""
    store = ObjectStore.begin(tmp_path / "found")
    assert list(store.chunks()) == []
    assert store.counts(2) == [0, 0]


def test_a_store_of_an_older_version_has_no_measurements(tmp_path: Path) -> None:
    """Results that were stored before objects were measured can still be delivered."""
    store = ObjectStore.begin(tmp_path / "found")
    store.append(nuclei(3))
    (tmp_path / "found" / "measurements").unlink()
    (chunk,) = store.chunks()
    assert chunk.measurements.shape == (3, 0)
    assert np.array_equal(chunk.centres, nuclei(3).centres)


def test_a_copy_has_the_measurements_of_the_first_objects(tmp_path: Path) -> None:
    """A scan that is resumed keeps what was measured before."""
    store = ObjectStore.begin(tmp_path / "found")
    store.append(nuclei(9))
    copy = ObjectStore.begin(tmp_path / "copy")
    copy.copy(store, 5)
    (chunk,) = copy.chunks()
    assert np.array_equal(chunk.measurements, nuclei(9).measurements[:5])


WRITES_A_FILE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.results import a_result, nuclei
from worker.delivery.destinations.quip import archive
from worker.delivery.destinations.quip.archive import Names
from worker.delivery.destinations.techcyte import payload
from worker.results.files import object_files
from worker.results.object_store import ObjectStore

store, piece = ObjectStore.begin(Path({folder!r}) / "found"), nuclei(2000)
for _ in range({pieces}):
    store.append(piece)
result = a_result(store)
object_files.write(Path({folder!r}), result)
with open({folder!r} + "/out", "wb") as file:
    payload.write([result], file)
with open({folder!r} + "/out.zip", "wb") as file:
    archive.write([result], Names("case", "case"), file)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(folder: Path, pieces: int) -> int:
    folder.mkdir()
    script = WRITES_A_FILE.format(root=str(ROOT), folder=str(folder), pieces=pieces)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_objects(tmp_path: Path) -> None:
    """Twelve times as many objects, hundreds of megabytes as Python objects, are written with the
    same memory."""
    assert peak_kib(tmp_path / "many", 24) < peak_kib(tmp_path / "few", 2) * 1.1
