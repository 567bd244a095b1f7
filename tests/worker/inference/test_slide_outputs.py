"""Embeddings and classes of slides, from the pixels of a slide to the files of the result."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from zipfile import ZipFile

import h5py
import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from demo.quip_rules import check_zip
from tests.support.encoders import (
    EMBEDDINGS_CARD,
    SLIDE_CARD,
    AttentionPooling,
    MeanColours,
    a_slide_network,
    by_role,
    colours_of_tiles,
)
from tests.support.results import VIEWER_FILES
from tests.support.scans import scan
from tests.support.slide_server import Listener
from tests.support.slides import a_slide
from worker.algorithms.networks.slide_network import Aggregator, SlideNetwork
from worker.algorithms.output_settings import SlideSettings
from worker.algorithms.torch_device.device import resolve
from worker.delivery.destinations.quip import archive
from worker.delivery.destinations.quip.archive import Names
from worker.delivery.destinations.techcyte import payload
from worker.progress import StopWork
from worker.results import result_folder
from worker.results.result import Result

EDGE = 64
WIDTH, HEIGHT = 5 * EDGE + 24, 3 * EDGE + 8
COLUMNS, ROWS = 6, 4
TILES = COLUMNS * ROWS


@pytest.fixture(scope="module")
def picture() -> np.ndarray[Any, Any]:
    """Squares of one colour each, as large as a tile; their mean is known to the bit."""
    rng = np.random.default_rng(5)
    colours = rng.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
    return colours.repeat(EDGE, axis=0).repeat(EDGE, axis=1)[:HEIGHT, :WIDTH]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, picture: np.ndarray[Any, Any]) -> Path:
    return a_slide(tmp_path_factory.mktemp("slide") / "S26-1.svs", picture, levels=(1,))


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def scanned(model: Any, slide: Path, folder: Path, roi: Any = None) -> Path:
    scan(model, slide, folder, 1, Listener(), roi)
    return folder / "1"


def document(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_bytes()))


def squares(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "features.geojson").read_bytes())["features"])


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as content:
        return list(csv.DictReader(content))


def expected_attention(vectors: np.ndarray[Any, Any]) -> tuple[list[float], Any]:
    """What the test's network answers for these vectors: probabilities and attention."""
    logits, attention = AttentionPooling("TD")(torch.from_numpy(vectors))
    return torch.softmax(logits.double(), dim=1)[0].tolist(), attention.numpy()


def test_each_tile_has_its_vector_at_its_place(
    tmp_path: Path, slide: Path, picture: np.ndarray[Any, Any]
) -> None:
    """Row by row; tiles that stick out of the slide are white there."""
    folder = scanned(MeanColours(), slide, tmp_path)
    with h5py.File(folder / "embeddings.h5") as file:
        assert np.allclose(file["features"][:], colours_of_tiles(picture, EDGE), atol=1e-4)
        places = [(x * EDGE, y * EDGE) for y in range(ROWS) for x in range(COLUMNS)]
        assert [tuple(place) for place in file["coords"][:].tolist()] == places
        assert file["coords"].attrs["name"] == "S26-1"
        assert file["coords"].attrs["patch_size_level0"] == EDGE
        assert file["features"].attrs["encoder"] == "colours"
        assert file.attrs["algorithm"] == "colours"
    told = document(folder)
    assert told["summary"] == {
        "tiles": TILES,
        "dimensions": 3,
        "area_mm2": pytest.approx(WIDTH * HEIGHT * 0.25e-6),
        "precision": "float32",
    }
    assert told["headline"] == f"{TILES} tiles, a vector of 3 numbers for each"
    assert told["counts"] == {}
    assert not (folder / "attention.csv").exists()
    assert result_folder.optional_files(folder) == ["embeddings.h5", *VIEWER_FILES]


def test_the_squares_have_no_class(tmp_path: Path, slide: Path) -> None:
    """QuPath shows them as tiles; the table begins with the columns of the format."""
    folder = scanned(MeanColours(), slide, tmp_path)
    features = squares(folder)
    assert len(features) == TILES
    assert features[1]["properties"] == {"objectType": "tile", "measurements": {}}
    assert features[1]["geometry"]["coordinates"][0][0] == [EDGE, 0]
    table = rows_of(folder / "objects.csv")
    assert list(table[0]) == ["id", "x", "y", "minx", "miny", "width", "height"]
    assert table[7]["id"] == features[7]["id"]
    assert [table[7][name] for name in ("x", "y")] == ["96.0", "96.0"]
    assert [table[7][name] for name in ("minx", "miny", "width", "height")] == [
        "64", "64", "64", "64",
    ]  # fmt: skip
    assert table[5]["width"] == "24"  # what lies on the slide


def test_the_squares_may_be_left_out_of_the_features(tmp_path: Path, slide: Path) -> None:
    """With "squares": false; everything else stays."""
    folder = scanned(MeanColours(squares=False), slide, tmp_path)
    assert squares(folder) == []
    assert len(rows_of(folder / "objects.csv")) == TILES
    with h5py.File(folder / "embeddings.h5") as file:
        assert len(file["features"]) == TILES


def test_halo_and_overlap_move_what_the_network_sees(
    tmp_path: Path, slide: Path, picture: np.ndarray[Any, Any]
) -> None:
    """coords are the corner with the halo; the squares are without it and overlap."""
    card = EMBEDDINGS_CARD.model_copy(update={"tile_px": 48, "halo_px": 8, "overlap_px": 16})
    folder = scanned(MeanColours(card), slide, tmp_path)
    with h5py.File(folder / "embeddings.h5") as file:
        assert file["coords"][1].tolist() == [24, -8]
        assert file["coords"].attrs["patch_size"] == 64
        assert file["coords"].attrs["overlap"] == 16
        inside = picture[8 : 8 + 64, 8 : 8 + 64]
        columns = -(-(WIDTH - 16) // 32)
        number = [tuple(place) for place in file["coords"][:].tolist()].index((24, 24))
        assert number == columns + 1
        seen = picture[24:88, 24:88].mean(axis=(0, 1))
        assert np.allclose(file["features"][number], seen, atol=1e-4)
        assert inside.shape == (64, 64, 3)
    assert squares(folder)[1]["geometry"]["coordinates"][0][:2] == [[32, 0], [80, 0]]


def test_a_polygon_takes_the_tiles_that_it_touches(tmp_path: Path, slide: Path) -> None:
    """In reading order, from the corner of its box."""
    triangle = {"polygon": [[10, 10], [10, 150], [100, 150]]}
    folder = scanned(MeanColours(), slide, tmp_path, triangle)
    with h5py.File(folder / "embeddings.h5") as file:
        coords = [tuple(place) for place in file["coords"][:].tolist()]
    assert coords == [(10, 10), (10, 74), (74, 74), (10, 138), (74, 138)]
    assert document(folder)["summary"]["tiles"] == 5


class Watching(Listener):
    """A progress that gives up work which does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_once = Event()

    def moved(self) -> None:
        self.moved_once.set()


def test_a_network_for_slides_moves_while_it_computes(tmp_path: Path, slide: Path) -> None:
    """Its one call reports nothing; whoever would give it up hears that it uses a processor."""
    progress = Watching()
    settings = SlideSettings()
    ask = by_role(AttentionPooling(settings.bag), with_attention=True)

    def slowly(*inputs: Any) -> Any:
        end = monotonic() + 60
        while not progress.moved_once.is_set() and monotonic() < end:
            sum(range(1000))
        return ask(*inputs)

    aggregator = Aggregator(slowly, resolve("cpu"), settings, "auto", len(SLIDE_CARD.classes))
    model = SlideNetwork(SLIDE_CARD, settings, MeanColours(), aggregator)
    scan(model, slide, tmp_path, 1, progress)
    assert progress.moved_once.is_set()
    assert ("aggregating", 0, 1) in progress.heard
    assert document(tmp_path / "1")["summary"]["tiles"] == TILES


def test_a_slide_is_classified_by_its_tiles(
    tmp_path: Path, slide: Path, picture: np.ndarray[Any, Any]
) -> None:
    """The summary, the squares with their attention, and the vectors too."""
    folder = scanned(a_slide_network(), slide, tmp_path)
    vectors = colours_of_tiles(picture, EDGE)
    probabilities, attention = expected_attention(vectors)
    number = int(np.argmax(probabilities))
    name = ["red", "green"][number]
    told = document(folder)
    assert told["summary"] == {
        "class": name,
        "probability": pytest.approx(probabilities[number], abs=1e-6),
        "probabilities": {
            "red": pytest.approx(probabilities[0], abs=1e-6),
            "green": pytest.approx(probabilities[1], abs=1e-6),
        },
        "tiles": TILES,
        "encoder": "colours",
        "precision": "float32",
    }
    assert told["headline"].startswith(f"{name} (probability 0.")
    assert told["counts"] == {}
    found = [feature["properties"]["measurements"] for feature in squares(folder)]
    assert np.allclose([one["attention"] for one in found], attention, rtol=1e-4)
    ranked = rankdata([one["attention"] for one in found]) / TILES
    assert np.allclose([one["attention_rank"] for one in found], ranked, atol=1e-6)
    assert squares(folder)[0]["properties"].keys() == {"objectType", "measurements"}
    rows = rows_of(folder / "attention.csv")
    assert list(rows[0]) == ["x", "y", "attention", "attention_rank"]
    assert (rows[7]["x"], rows[7]["y"]) == ("64", "64")
    assert float(rows[7]["attention"]) == found[7]["attention"]
    table = rows_of(folder / "objects.csv")
    assert float(table[7]["attention_rank"]) == found[7]["attention_rank"]
    with h5py.File(folder / "embeddings.h5") as file:
        assert np.allclose(file["features"][:], vectors, atol=1e-4)
        assert file["features"].attrs["encoder"] == "colours"
        assert file.attrs["algorithm"] == "subtype"
    assert result_folder.optional_files(folder) == ["embeddings.h5", "attention.csv", *VIEWER_FILES]


def test_without_attention_there_is_no_square(tmp_path: Path, slide: Path) -> None:
    """The class and the vectors are all."""
    card = SLIDE_CARD.model_copy(update={"measurements": ()})
    folder = scanned(a_slide_network(with_attention=False, card=card), slide, tmp_path)
    assert document(folder)["summary"]["tiles"] == TILES
    assert squares(folder) == []
    assert rows_of(folder / "objects.csv") == []
    assert result_folder.optional_files(folder) == ["embeddings.h5", *VIEWER_FILES]


def test_of_too_many_tiles_evenly_spaced_ones_are_judged(
    tmp_path: Path, slide: Path, picture: np.ndarray[Any, Any]
) -> None:
    """And the warning says so. All vectors are kept."""
    folder = scanned(a_slide_network(max_tiles=10), slide, tmp_path)
    chosen = [0, 2, 4, 7, 9, 12, 14, 16, 19, 21]
    probabilities, attention = expected_attention(colours_of_tiles(picture, EDGE)[chosen])
    told = document(folder)
    assert told["summary"]["tiles"] == 10
    assert told["summary"]["probability"] == pytest.approx(max(probabilities), abs=1e-6)
    (warning,) = [one for one in told["warnings"] if one["code"] == "tiles_left_out"]
    assert "10 of 24 tiles" in warning["detail"]
    rows = rows_of(folder / "attention.csv")
    places = [(int(row["x"]) // EDGE, int(row["y"]) // EDGE) for row in rows]
    assert [x + y * COLUMNS for x, y in places] == chosen
    assert np.allclose([float(row["attention"]) for row in rows], attention, rtol=1e-4)
    with h5py.File(folder / "embeddings.h5") as file:
        assert len(file["features"]) == TILES


def test_glass_alone_is_no_class(tmp_path: Path) -> None:
    """The network is not asked; files are there, and empty."""
    white = a_slide(tmp_path / "white.svs", np.full((256, 256, 3), 255, np.uint8))
    card = SLIDE_CARD.model_copy(update={"tissue_only": True})
    network = a_slide_network(card=card)
    network._aggregator = None  # type: ignore[assignment]
    folder = scanned(network, white, tmp_path / "out")
    told = document(folder)
    assert told["headline"] == "no tissue found"
    assert told["summary"] == {
        "class": None,
        "probability": None,
        "probabilities": {"red": None, "green": None},
        "tiles": 0,
        "encoder": "colours",
        "precision": "float32",
    }
    assert squares(folder) == []
    assert (folder / "attention.csv").read_text() == "x,y,attention,attention_rank\n"
    with h5py.File(folder / "embeddings.h5") as file:
        assert file["features"].shape == (0, 3)
    alone = EMBEDDINGS_CARD.model_copy(update={"tissue_only": True})
    folder = scanned(MeanColours(alone), white, tmp_path / "alone")
    assert document(folder)["headline"] == "no tissue found"
    assert document(folder)["summary"]["dimensions"] == 3


@pytest.mark.parametrize("model", [MeanColours, a_slide_network])
def test_a_scan_that_was_lost_ends_with_the_same_bytes(
    tmp_path: Path, slide: Path, model: Any
) -> None:
    """Wherever it was lost."""
    whole = files_of(scanned(model(), slide, tmp_path / "whole"))
    for done in (16, 20):
        folder = tmp_path / str(done)
        with pytest.raises(StopWork):
            scan(model(), slide, folder, 1, Listener(lambda tiles, at=done: tiles == at))
        timings = scan(model(), slide, folder, 2, Listener())
        assert timings["tiles_resumed"] == 12
        assert files_of(folder / "2") == whole


def test_batches_of_any_size_give_the_same_bytes(tmp_path: Path, slide: Path) -> None:
    """The vectors of a tile do not depend on the others."""
    found = []
    for tiles in (1, 5, 24):
        model = a_slide_network()
        model.batch_tiles = tiles
        found.append(files_of(scanned(model, slide, tmp_path / str(tiles))))
    assert found[0] == found[1] == found[2]


def loaded(folder: Path) -> Result:
    result = result_folder.load(folder)
    assert result.slide_name == "S26-1"
    return result


@pytest.mark.parametrize("model", [MeanColours, a_slide_network])
def test_destinations_get_the_summary_alone(tmp_path: Path, slide: Path, model: Any) -> None:
    """Tiles without a class are nothing that they show."""
    result = loaded(scanned(model(), slide, tmp_path))
    with (tmp_path / "body").open("wb+") as file:
        payload.write([result], file)
        file.seek(0)
        (scan_result,) = json.load(file)["scanResults"]
    assert scan_result["geojson"]["features"] == []
    assert scan_result["results"]["measurements"] == result.findings.summary
    assert scan_result["workflow"]["report"]["segments"] == []
    lines: Mapping[str, str] = {
        line["name"]: line["result"] for line in scan_result["workflow"]["report"]["results"]
    }
    assert lines["Tiles"] == str(TILES)
    with (tmp_path / "zip").open("wb") as file:
        archive.write([result], Names("S26-1", "S26-1"), file)
    check_summary(tmp_path / "zip", result)


def check_summary(file: Path, result: Result) -> None:
    """The importer's rules hold: the area is the only polygon, and its metadata the summary."""
    assert check_zip(file.read_bytes()) == 1
    with ZipFile(file) as members:
        (name,) = [one for one in members.namelist() if one.endswith("algmeta.json")]
        metadata = json.loads(members.read(name))
        assert json.loads(metadata["summary"]) == result.findings.summary
        (rows,) = [one for one in members.namelist() if one.endswith("features.csv")]
        (row,) = csv.DictReader(members.read(rows).decode().splitlines())
    assert float(row["AreaInPixels"]) == WIDTH * HEIGHT
    assert row["ClassNumber"] == "0"


def test_the_vectors_are_kept_once(tmp_path: Path, slide: Path) -> None:
    """In embeddings.h5, and not among the objects that payloads are made of."""
    folder = scanned(MeanColours(), slide, tmp_path)
    assert not (folder / "findings" / "features").exists()
    assert len(loaded(folder).findings.objects) == TILES
