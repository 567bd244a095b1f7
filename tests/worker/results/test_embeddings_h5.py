"""embeddings.h5 as TRIDENT writes it and as TRIDENT and CLAM read it."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.results import a_card, a_result
from worker.geometry.frame import Frame
from worker.results.embeddings import Embeddings, Store
from worker.results.files import embeddings_h5
from worker.results.object_store import ObjectStore
from worker.results.objects import CHUNK, Objects
from worker.results.result import Result

FRAME = Frame(4000, 3000, 0.26, 0.26, "slide")
CARD = a_card("embeddings").model_copy(
    update={
        "name": "uni",
        "classes": (),
        "measurements": (),
        "mpp": 0.5,
        "tile_px": 216,
        "halo_px": 4,
        "overlap_px": 16,
    }
)


def tiles(count: int, dimensions: int = 3) -> Objects:
    """Tiles in two rows, with vectors that differ."""
    places = [(column % 50 * 200 * 0.5 / 0.26, column // 50 * 384.5) for column in range(count)]
    size = 216 * 0.5 / 0.26
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
    outlines = np.array(places).reshape(-1, 1, 2) + corners
    vectors = np.arange(count * dimensions, dtype=np.float32).reshape(count, dimensions) / 7
    return Objects(
        outlines.mean(axis=1),
        tuple(outlines),
        np.zeros(count, np.int64),
        np.ones(count),
        features=vectors,
    )


def a_scan(found: Any, store: Store = "float32", dimensions: int = 3, **changed: Any) -> Result:
    result = a_result(found, card=CARD, frame=FRAME, slide_name="CMU-1", **changed)
    embeddings = Embeddings(found, dimensions, store, "uni")
    return replace(result, findings=replace(result.findings, embeddings=embeddings))


def written(file: Path, result: Result) -> Path:
    assert result.findings.embeddings is not None
    embeddings_h5.write(file, result, result.findings.embeddings)
    return file


def test_the_layout_is_that_of_trident(tmp_path: Path) -> None:
    """Datasets, types, chunks, growth and every attribute."""
    found = tiles(60)
    with h5py.File(written(tmp_path / "a.h5", a_scan(found))) as file:
        assert sorted(file) == ["coords", "features"]
        features, coords = file["features"], file["coords"]
        assert (features.shape, features.dtype) == ((60, 3), np.dtype("<f4"))
        assert (features.chunks, features.maxshape) == ((1, 3), (None, 3))
        assert (coords.shape, coords.dtype) == ((60, 2), np.dtype("<i8"))
        assert (coords.chunks, coords.maxshape) == ((1, 2), (None, 2))
        assert (features.compression, coords.compression) == (None, None)
        assert dict(features.attrs) == {"name": "CMU-1", "savetodir": "", "encoder": "uni"}
        assert dict(coords.attrs) == {
            "patch_size": 224,
            "patch_size_level0": 431,
            "level0_magnification": 40,
            "target_magnification": 20,
            "overlap": 16,
            "name": "CMU-1",
            "savetodir": "",
            "level0_width": 4000,
            "level0_height": 3000,
        }
        assert {coords.attrs[name].dtype for name in ("patch_size", "overlap")} == {np.dtype("<i8")}
        assert dict(file.attrs) == {
            "slidelane": "1",
            "mpp_x": 0.26,
            "mpp_y": 0.26,
            "algorithm": "uni",
            "digest": CARD.digest,
            "model_mpp": 0.5,
        }
        assert np.array_equal(features[:], found.features)


def test_coordinates_are_the_corner_of_what_the_network_saw(tmp_path: Path) -> None:
    """The halo included; halves go to the even neighbour."""
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * 10.0
    places = np.array([(0.5, 1.5), (2.5, -0.5), (7.49, 7.51)])
    outlines = places[:, None] + square
    found = Objects(
        places,
        tuple(outlines),
        np.zeros(3, np.int64),
        np.ones(3),
        features=np.ones((3, 3), np.float32),
    )
    frame = replace(FRAME, mpp_x=0.5, mpp_y=0.25)
    result = a_scan(found)
    result = replace(result, findings=replace(result.findings, frame=frame))
    with h5py.File(written(tmp_path / "a.h5", result)) as file:
        # 4 px of halo are 4 level-0 pixels along x and 8 along y
        assert file["coords"][:].tolist() == [[-4, -6], [-2, -8], [3, 0]]
        assert file["coords"].attrs["patch_size_level0"] == 224


@pytest.mark.parametrize(
    ("mpp", "nominal"),
    [
        (0.15, 80), (0.16, 60), (0.19, 60), (0.2, 40), (0.2525, 40), (0.299, 40), (0.3, 20),
        (0.5, 20), (0.6, 10), (1.1, 10), (1.2, 5), (2.39, 5), (2.4, 1), (8, 1), (None, None),
    ],
)  # fmt: skip
def test_the_nominal_magnification_follows_tridents_ladder(
    mpp: float | None, nominal: int | None
) -> None:
    """Below 0.16 it is 80, and so on; nothing is known of an unknown size."""
    assert embeddings_h5.magnification(mpp) == nominal


def test_half_precision_is_stored_as_it_is_rounded(tmp_path: Path) -> None:
    """A third is not a third in float16."""
    found = tiles(5)
    with h5py.File(written(tmp_path / "a.h5", a_scan(found, "float16"))) as file:
        assert file["features"].dtype == np.dtype("<f2")
        assert np.array_equal(file["features"][:], found.features.astype(np.float16))


def test_a_slide_without_tissue_has_no_rows_but_everything_else(tmp_path: Path) -> None:
    """Readers of many slides need not treat it apart."""
    store = ObjectStore.begin(tmp_path / "found")
    with h5py.File(written(tmp_path / "a.h5", a_scan(store, dimensions=1536))) as file:
        assert file["features"].shape == (0, 1536)
        assert file["features"].chunks == (1, 1536)
        assert file["coords"].shape == (0, 2)
        assert file["coords"].attrs["patch_size_level0"] == 431
        assert file["features"].attrs["encoder"] == "uni"
        assert file.attrs["slidelane"] == "1"


def test_the_same_result_is_the_same_bytes(tmp_path: Path) -> None:
    """Whenever it is written, and whether the tiles are in memory or on the disk, in pieces."""
    found = tiles(CHUNK + 30)
    first = written(tmp_path / "a.h5", a_scan(found)).read_bytes()
    store = ObjectStore.begin(tmp_path / "found")
    for start in range(0, len(found), 1000):
        store.append(found.selected(np.arange(start, min(len(found), start + 1000))))
    begun_s = time.time() // 1
    while time.time() // 1 == begun_s:  # HDF5 notes times in whole seconds
        time.sleep(0.05)
    assert written(tmp_path / "b.h5", a_scan(store)).read_bytes() == first


def test_vectors_that_are_not_one_for_each_tile_are_refused(tmp_path: Path) -> None:
    """A store that was cut must not shift vectors to other tiles."""
    found = tiles(5)
    with pytest.raises(ValueError, match="has 3 numbers, not 4"):
        written(tmp_path / "a.h5", a_scan(found, dimensions=4))
    cut = replace(found, features=found.features[:0])
    with pytest.raises(ValueError, match="shorter"):
        written(tmp_path / "b.h5", a_scan(cut))


def test_a_reader_like_tridents_finds_coordinates_and_attributes(tmp_path: Path) -> None:
    """It copies all attributes of `coords` and asks for the patch's size at level 0 by name."""
    with h5py.File(written(tmp_path / "a.h5", a_scan(tiles(4))), "r") as file:
        attributes = dict(file["coords"].attrs.items())
        coords = file["coords"][:]
        features = file["features"][:]
    assert coords.dtype == np.int64
    assert int(attributes["patch_size_level0"]) == 431
    drawn = [(x, y, x + 431, y + 431) for x, y in coords.tolist()]
    assert drawn[1] == (377, -8, 808, 423)
    assert len(features) == len(coords)


def test_a_reader_like_clams_finds_both_as_arrays(tmp_path: Path) -> None:
    """It reads `features` and `coords` whole and makes tensors of the first."""
    torch = pytest.importorskip("torch")
    with h5py.File(written(tmp_path / "a.h5", a_scan(tiles(4))), "r") as bag:
        features = torch.from_numpy(bag["features"][:])
        coords = bag["coords"][:]
    assert features.shape == (4, 3)
    assert features.dtype == torch.float32
    assert coords.shape == (4, 2)


WRITES_A_FILE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.worker.results.test_embeddings_h5 import a_scan, tiles, written
from worker.results.object_store import ObjectStore
store, piece = ObjectStore.begin(Path({folder!r}) / "found"), tiles(500, 1536)
for _ in range({pieces}):
    store.append(piece)
written(Path({folder!r}) / "a.h5", a_scan(store, dimensions=1536))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kib(folder: Path, pieces: int) -> int:
    folder.mkdir()
    script = WRITES_A_FILE.format(root=str(ROOT), folder=str(folder), pieces=pieces)
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_memory_does_not_grow_with_the_number_of_tiles(tmp_path: Path) -> None:
    """Twice as many tiles of 1536 numbers take no more memory to write."""
    few = peak_kib(tmp_path / "few", 20)
    many = peak_kib(tmp_path / "many", 40)
    assert many < few + 15_000  # 10,000 vectors more are 60,000 KiB
