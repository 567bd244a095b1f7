"""How much memory it takes to write many findings."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

COUNT = 300_000
MOST_BYTES = 36 * 2**20
"""The outlines alone have 77 MB, of which each part is only held while it is needed."""
PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from tests.support.results import a_card, a_result
from worker.geometry.frame import Area, Frame
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects
from worker.results.tiles import files

count, most, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
store = ObjectStore.begin(folder / "objects")
ring = 8 * np.stack([np.cos(np.arange(16) * np.pi / 8), np.sin(np.arange(16) * np.pi / 8)], 1)
rng = np.random.default_rng(0)
for start in range(0, count, CHUNK):
    size = min(CHUNK, count - start)
    places = rng.uniform((0, 60 * start / 300), (40_000, 60 * start / 300 + 900), (size, 2))
    outlines = tuple(places[:, None] + ring)
    store.append(Objects(places, outlines, rng.integers(0, 2, size), rng.random(size)))
card = a_card().model_copy(update={"measurements": ()})
frame = Frame(40_000, 61_000, 0.5, 0.5, "slide")
result = a_result(store, frame=frame, area=Area(0, 0, 40_000, 61_000), card=card)
status = dict(line.split(":") for line in open("/proc/self/status"))
held = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + most, held + most))
files.write(folder, result, store)
"""


def test_memory_hardly_grows_with_the_number_of_objects(tmp_path: Path) -> None:
    """The kernel refuses more; what is mapped of the store's files does not count."""
    command = [sys.executable, "-c", PROGRAM, str(COUNT), str(MOST_BYTES), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    points = (tmp_path / "objects" / "points").stat().st_size
    assert points == COUNT * 16 * 16
    assert points > 2 * MOST_BYTES
    archive = (tmp_path / "findings.pmtiles").stat().st_size
    assert archive < COUNT * 50
