"""A case is judged once, by the vectors of all its slides, and every slide gets the answer."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from broker.errors import OrderError, TemporaryError
from broker.settings.config import WorkerSettings
from tests.support.cases import CASE, EDGE, a_case_head, encoded, judged, slides_of
from tests.support.results import VIEWER_FILES
from tests.support.scans import scan
from tests.support.slide_server import Listener
from worker.algorithms import registry
from worker.inference.case.bag import EncodedScan
from worker.inference.parallel_tiles import MAX_BATCH_BYTES
from worker.results import result_folder

ATTENTION = {"R": 40.0, "B": 220.0}


def loaded(folder: Path, **parameters: Any) -> Any:
    entries = {"cases": {"kind": "weights", "folder": folder}}
    settings = WorkerSettings.model_validate({"algorithms": entries}).algorithms
    return registry.load("cases", settings, parameters, "cpu", max_batch_bytes=MAX_BATCH_BYTES)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return loaded(a_case_head(tmp_path / "head"))


def document(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_bytes()))


def attention_of(folder: Path) -> list[tuple[int, float, float]]:
    """The column of each tile, its attention and its rank."""
    with (folder / "attention.csv").open(newline="") as file:
        return [
            (int(row["x"]) // EDGE, float(row["attention"]), float(row["attention_rank"]))
            for row in csv.DictReader(file)
        ]


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a result, by their paths in its folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_slide_gets_the_answer_for_all_of_them(tmp_path: Path, model: Any) -> None:
    """3 of 8 tiles are red. By themselves the slides are all red, all blue, and half of each."""
    slides = slides_of(tmp_path / "slides")
    folders = encoded(model, slides, tmp_path / "first")
    results = [document(one) for one in judged(model, folders, tmp_path / "second")]
    case = {
        "class": "blue",
        "probability": 0.625,
        "probabilities": {"red": 0.375, "blue": 0.625},
        "scans": 3,
        "tiles": 8,
    }
    tiles = [2, 4, 2]
    for result, own in zip(results, tiles, strict=True):
        assert result["summary"] == {
            "case": case,
            "tiles": own,
            "encoder": "colours",
            "precision": "float32",
        }
        assert result["headline"] == "case: blue (probability 0.625, 3 scans, 8 tiles)"
        bag = result["provenance"]["case"]
        assert [(one["scan"], one["tiles"]) for one in bag] == list(zip("abc", tiles, strict=True))
        assert len({one["slide_digest"] for one in bag}) == 3
        assert result["produced"] == {
            "at": "2026-11-21T07:00:00+00:00",
            "precision": "float32",
            "case": {"at": "2026-11-21T07:00:00+00:00"},
        }


def test_attention_is_that_of_each_slide_and_ranked_in_the_case(tmp_path: Path, model: Any) -> None:
    """Three red tiles share the lower ranks of all eight, five blue ones the upper."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    results = judged(model, folders, tmp_path / "second")
    rank = {"R": 2 / 8, "B": 6 / 8}
    for folder, tiles in zip(results, CASE.values(), strict=True):
        expected = [(place, ATTENTION[one], rank[one]) for place, one in enumerate(tiles)]
        assert attention_of(folder) == expected
        features = json.loads((folder / "features.geojson").read_bytes())["features"]
        ranks = [one["properties"]["measurements"]["attention_rank"] for one in features]
        assert ranks == [rank[one] for one in tiles]
        assert result_folder.optional_files(folder) == [
            "embeddings.h5",
            "attention.csv",
            *VIEWER_FILES,
        ]


def test_the_first_pass_is_a_result_of_embeddings_without_a_class(
    tmp_path: Path, model: Any
) -> None:
    """Whatever becomes of its case. The second pass writes the same vectors once more."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    results = judged(model, folders, tmp_path / "second")
    for first, second, tiles in zip(folders, results, CASE.values(), strict=True):
        told = document(first)
        assert told["summary"].keys() == {"tiles", "dimensions", "area_mm2", "precision"}
        assert told["headline"] == (
            f"{len(tiles)} tiles, a vector of 3 numbers for each; the case is not judged yet"
        )
        assert result_folder.optional_files(first) == ["embeddings.h5", *VIEWER_FILES]
        assert (first / "embeddings.h5").read_bytes() == (second / "embeddings.h5").read_bytes()
        assert not (second / "picture.png").exists()
        with h5py.File(first / "embeddings.h5") as file:
            assert file["features"].attrs["encoder"] == "colours"
            assert file.attrs["algorithm"] == "cases"


def test_a_single_slide_is_a_case_of_its_own(tmp_path: Path, model: Any) -> None:
    """In one pass, as `slidelane run` and an order of one scan do it."""
    slide = slides_of(tmp_path / "slides")["c"]
    scan(model, slide, tmp_path / "out", 1, Listener())
    told = document(tmp_path / "out" / "1")
    assert told["summary"]["case"] == {
        "class": "red",
        "probability": 0.5,
        "probabilities": {"red": 0.5, "blue": 0.5},
        "scans": 1,
        "tiles": 2,
    }
    assert told["headline"] == "case: red (probability 0.500, 1 scan, 2 tiles)"
    assert attention_of(tmp_path / "out" / "1") == [(0, 40.0, 0.5), (1, 220.0, 1.0)]


def test_the_bag_is_in_the_order_of_the_scans(tmp_path: Path, model: Any) -> None:
    """A case that is ordered the other way round is judged from its other end."""
    slides = slides_of(tmp_path / "slides")
    classes = []
    for name, ordered in (("there", slides), ("back", dict(reversed(slides.items())))):
        folders = encoded(model, ordered, tmp_path / name)
        told = [document(one) for one in judged(model, folders, tmp_path / f"{name}-judged")]
        assert [one["scan"] for one in told[0]["provenance"]["case"]] == list(ordered)
        classes.append(told[0]["summary"]["case"]["class"])
    assert classes[0] == classes[1]


def test_once_more_gives_the_same_bytes(tmp_path: Path, model: Any) -> None:
    """After a lost worker nothing is there but the first pass, and that is enough."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    one, other = (judged(model, folders, tmp_path / name) for name in ("one", "other"))
    assert list(map(files_of, one)) == list(map(files_of, other))


def test_of_too_many_tiles_evenly_spaced_ones_of_the_case_are_judged(tmp_path: Path) -> None:
    """And every slide says so; a slide may keep fewer tiles in its attention than it has."""
    model = loaded(a_case_head(tmp_path / "head", max_tiles=4))
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    results = judged(model, folders, tmp_path / "second")
    told = [document(one) for one in results]
    assert [one["summary"]["tiles"] for one in told] == [1, 2, 1]
    assert told[0]["summary"]["case"]["tiles"] == 4
    assert [len(attention_of(one)) for one in results] == [1, 2, 1]
    for one in told:
        (warning,) = [one for one in one["warnings"] if one["code"] == "tiles_left_out"]
        assert "4 of 8 tiles" in warning["detail"]


def warnings_of(told: Mapping[str, Any]) -> list[str]:
    return [one["detail"] for one in told["warnings"] if one["code"] == "scan_without_tissue"]


def test_a_slide_without_tissue_is_named_with_the_answer(tmp_path: Path) -> None:
    """The others are judged; without any tissue nobody is asked."""
    model = loaded(a_case_head(tmp_path / "head", tissue_only=True))
    tiles = {"a": "RRRR", "b": "____"}
    folders = encoded(model, slides_of(tmp_path / "slides", tiles), tmp_path / "first")
    told = [document(one) for one in judged(model, folders, tmp_path / "second")]
    assert [one["summary"]["case"]["class"] for one in told] == ["red", "red"]
    assert [one["summary"]["tiles"] for one in told][1] == 0
    assert [warnings_of(one) for one in told] == [
        ["no tissue was found in 1 of the 2 scans, by which the case is not judged: b"]
    ] * 2
    folders = encoded(model, slides_of(tmp_path / "glass", {"a": "__", "b": "___"}), tmp_path / "g")
    for folder in judged(model, folders, tmp_path / "nothing"):
        one = document(folder)
        assert one["headline"] == "case: no tissue found"
        assert one["summary"]["case"]["class"] is None
        assert one["summary"]["case"]["probabilities"] == {"red": None, "blue": None}
        assert warnings_of(one) == []
        assert attention_of(folder) == []


def test_scans_of_two_networks_are_no_case(tmp_path: Path, model: Any) -> None:
    """The model was replaced while the order ran: nobody is asked."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    other = loaded(a_case_head(tmp_path / "new" / "head", title="another"))
    with pytest.raises(OrderError, match="scan a was encoded by cases") as error:
        judged(other, folders, tmp_path / "second")
    assert error.value.code == "case_scans_differ"
    alone = loaded(a_case_head(tmp_path / "alone" / "head", scope="scan"))
    scan(alone, tmp_path / "slides" / "a.svs", tmp_path / "out", 1, Listener())
    with pytest.raises(OrderError, match="scan 1 was encoded by"):
        EncodedScan.load(tmp_path / "out" / "1", alone.card)


def test_vectors_of_two_lengths_are_no_case(tmp_path: Path, model: Any) -> None:
    """An encoder may answer another length for another slide."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    with h5py.File(folders[1] / "embeddings.h5", "a") as file:
        wide = np.ones((4, 5), np.float32)
        del file["features"]
        file.create_dataset("features", data=wide, chunks=(1, 5))
    with pytest.raises(OrderError, match="different lengths: a: 3, b: 5, c: 3"):
        judged(model, folders, tmp_path / "second")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("embeddings.h5", b"no HDF5"),
        ("embeddings.h5", None),
        ("findings/about.json", b"{"),
        ("findings/about.json", None),
        ("picture.png", b"no picture"),
        ("picture.png", None),
    ],
)
def test_a_damaged_file_of_the_first_pass_is_waited_for(
    tmp_path: Path, model: Any, name: str, content: bytes | None
) -> None:
    """The operator of the storage can put it back; nothing is answered without it."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    if content is None:
        (folders[1] / name).unlink()
    else:
        (folders[1] / name).write_bytes(content)
    with pytest.raises(TemporaryError, match="in the stored result 1 is not what was") as error:
        judged(model, folders, tmp_path / "second")
    assert error.value.code == "storage_unreachable"


def test_a_file_that_states_more_than_it_holds_is_damaged(tmp_path: Path, model: Any) -> None:
    """HDF5 reads what was never written as zeros, which would be tiles of no slide."""
    folders = encoded(model, slides_of(tmp_path / "slides"), tmp_path / "first")
    with h5py.File(folders[0] / "embeddings.h5", "a") as file:
        del file["features"]
        file.create_dataset("features", (2, 10**9), np.float32, chunks=(1, 1024))
    with pytest.raises(TemporaryError, match="it holds 0 bytes"):
        judged(model, folders, tmp_path / "second")
