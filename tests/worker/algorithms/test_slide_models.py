"""Folders of encoders and of networks for slides: read, refused, loaded, and run on a slide."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from broker.settings.config import AlgorithmSettings, ConfigError, WorkerSettings
from tests.support.encoders import AttentionPooling
from tests.support.networks import a_model
from tests.support.scans import scan
from tests.support.slide_models import EDGE, Gated, MeanColour, TakesOneSize, a_head, an_encoder
from tests.support.slide_server import Listener
from tests.support.slides import a_picture, a_slide
from worker.algorithms import registry
from worker.algorithms.model_folder.reading import watched_files
from worker.inference.parallel_tiles import MAX_BATCH_BYTES


def settings_of(folder: Path, **others: Path) -> dict[str, AlgorithmSettings]:
    """The settings of a worker with this algorithm, named subtype, and others."""
    entries: Any = {name: {"kind": "weights", "folder": path} for name, path in others.items()}
    entries["subtype"] = {"kind": "weights", "folder": folder}
    return WorkerSettings.model_validate({"algorithms": entries}).algorithms


def loaded(settings: dict[str, AlgorithmSettings], **parameters: Any) -> Any:
    return registry.load("subtype", settings, parameters, "cpu", max_batch_bytes=MAX_BATCH_BYTES)


def reason(folder: Path, **others: Path) -> str:
    """Why the algorithm cannot be loaded."""
    with pytest.raises(ConfigError) as error:
        loaded(settings_of(folder, **others))
    return str(error.value)


def test_a_head_has_the_tiles_of_its_encoder(tmp_path: Path) -> None:
    """The card says what is read, which classes there are and what is measured."""
    an_encoder(tmp_path / "colours", mpp=1.0, halo_px=8, overlap_px=4, tissue_only=False)
    folder = a_head(tmp_path / "head", Gated(), outputs={"logits": 0, "attention": 3})
    card = registry.card("subtype", settings_of(folder)["subtype"])
    assert (card.output, card.mpp, card.tile_px, card.halo_px) == ("slide", 1.0, 48, 8)
    assert (card.overlap_px, card.tissue_only, card.encoder) == (4, False, "colours")
    assert [entry.name for entry in card.classes] == ["LUAD", "LUSC"]
    assert card.object_classes == ()
    assert card.measurements == ("attention", "attention_rank")
    assert "max_tiles" in card.parameters["properties"]
    assert card.scope == "scan"
    plain = a_head(tmp_path / "plain", Gated(), scope="case")
    assert registry.card("subtype", settings_of(plain)["subtype"]).scope == "case"
    assert registry.card("subtype", settings_of(plain)["subtype"]).measurements == ()


def test_another_encoder_is_another_digest(tmp_path: Path) -> None:
    """And the monitor looks at the encoder's files, whatever their names."""
    encoder = an_encoder(tmp_path / "colours")
    folder = a_head(tmp_path / "head", Gated())
    settings = settings_of(folder)
    before = registry.card("subtype", settings["subtype"]).digest
    (encoder / "torchscript_model.pt").rename(encoder / "net.ts")
    an_encoder(tmp_path / "colours", file="net.ts", title="another")
    assert registry.card("subtype", settings["subtype"]).digest != before
    resolved = {path.resolve() for path in watched_files(folder)}
    assert {(encoder / "net.ts").resolve(), (encoder / "model.json").resolve()} <= resolved


def test_the_encoder_may_be_inside_or_beside_or_an_algorithm(tmp_path: Path) -> None:
    """All three are the same network; only the name differs."""
    inside = a_head(tmp_path / "a", Gated(), encoder="enc")
    an_encoder(inside / "enc")
    beside = a_head(tmp_path / "b", Gated())
    an_encoder(tmp_path / "colours")
    elsewhere = an_encoder(tmp_path / "far" / "away")
    named = a_head(tmp_path / "c", Gated(), encoder={"algorithm": "uni"})
    assert loaded(settings_of(inside)).card.encoder == "enc"
    assert loaded(settings_of(beside)).card.encoder == "colours"
    assert loaded(settings_of(named, uni=elsewhere)).card.encoder == "uni"
    settings = settings_of(named, uni=elsewhere)
    assert settings["subtype"].encoders == {"uni": elsewhere}
    assert settings["uni"].encoders == {"subtype": named}
    files = watched_files(named, settings["subtype"].encoders)
    assert elsewhere / "torchscript_model.pt" in files


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"encoder": "../../elsewhere"}, "encoder: a folder inside this one or beside it"),
        ({"encoder": "../missing"}, "encoder: there is no folder '../missing'"),
        ({"encoder": "."}, "encoder: a folder inside this one or beside it"),
        ({"encoder": "../tiles"}, "encoder: its output must be embeddings"),
        ({"encoder": {"algorithm": "uni"}}, "encoder: there is no algorithm 'uni'"),
        ({"encoder": {"algorithm": "subtype"}}, "encoder: there is no algorithm 'subtype'"),
        ({"mpp": 0.5}, "mpp: there is no such key"),
        ({"input_px": 224}, "input_px: there is no such key"),
        ({"normalize": {"mean": [0, 0, 0], "std": [1, 1, 1]}}, "normalize: there is no such key"),
        (
            {"scope": "case", "inputs": ["features", "coords"]},
            "inputs: with scope case there are features alone",
        ),
        ({"scope": "patient"}, "scope"),
        ({"inputs": ["features", "colour"]}, "inputs.1"),
        ({"bag": "DT"}, "bag"),
        ({"outputs": {"logits": 0, "heat": 1}}, "outputs.heat"),
        ({"classes": []}, "classes: at least one is needed"),
        ({"max_tiles": 0}, "max_tiles"),
        ({"classes": ["a", "b", "c"]}, "outputs.logits has shape (1, 2); classes says 3"),
        ({"bag": "1TD"}, "algorithm"),
        ({"outputs": {"logits": 5}}, "outputs.logits is 5"),
        ({"outputs": {"logits": 0, "attention": 1}}, "outputs.attention has shape (1, 2)"),
        ({"outputs": {"logits": 0, "attention": 3}, "attention_head": 1}, "has 1 rows"),
        ({"inputs": ["features", "coords"]}, "does not take"),
        ({"activation": "none"}, "are no probabilities"),
    ],
)
def test_what_cannot_work_is_said_with_the_key_before_a_slide_is_read(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    """Reading or trying it on noise finds all of it."""
    an_encoder(tmp_path / "colours")
    a_model(tmp_path / "tiles", MeanColour())
    told = reason(a_head(tmp_path / "head", Gated(), **keys))
    assert said in told
    assert told.startswith("worker.algorithms.subtype: model.json: ")
    assert str(tmp_path) not in told


def test_a_head_of_one_number_of_tiles_is_noticed(tmp_path: Path) -> None:
    """It would fail on every slide."""
    an_encoder(tmp_path / "colours")
    assert "does not take" in reason(a_head(tmp_path / "head", TakesOneSize()))


def test_an_order_may_set_what_the_model_leaves_to_it(tmp_path: Path) -> None:
    """The numbers of the section: threshold, attention_head, max_tiles."""
    an_encoder(tmp_path / "colours")
    folder = a_head(tmp_path / "head", Gated(), max_tiles=500)
    assert loaded(settings_of(folder)).settings.max_tiles == 500
    own = loaded(settings_of(folder), max_tiles=7, threshold=0.9)
    assert (own.settings.max_tiles, own.settings.threshold) == (7, 0.9)


def test_an_encoder_and_a_head_like_clams_run_on_a_slide(tmp_path: Path) -> None:
    """From model.json to the class: `outputs` picks scores and raw attention out of four."""
    an_encoder(tmp_path / "colours", tissue_only=False)
    folder = a_head(tmp_path / "head", Gated(), outputs={"logits": 0, "attention": 3})
    pixels = a_picture(4 * EDGE, 3 * EDGE) // 2
    pixels[EDGE : 2 * EDGE, 2 * EDGE : 3 * EDGE] = (20, 200, 255)
    slide = a_slide(tmp_path / "a.svs", pixels, levels=(1,))
    scan(loaded(settings_of(folder)), slide, tmp_path / "out", 1, Listener())
    told = json.loads((tmp_path / "out" / "1" / "results.json").read_bytes())
    assert told["summary"]["class"] == "LUSC"
    expected = 1 / (1 + np.exp((20 - 200) / 64))
    assert told["summary"]["probability"] == pytest.approx(expected, abs=1e-4)
    assert told["summary"]["tiles"] == 12
    rows = (tmp_path / "out" / "1" / "attention.csv").read_text().splitlines()
    x, y, attention, rank = map(float, rows[1 + 4 + 2].split(","))
    assert (x, y, rank) == (128, 64, 1)
    assert attention == pytest.approx(255, abs=1e-3)
    with h5py.File(tmp_path / "out" / "1" / "embeddings.h5") as file:
        assert np.allclose(file["features"][6], (20, 200, 255), atol=1e-3)
        assert file["features"].attrs["encoder"] == "colours"


def test_a_bag_with_a_batch_dimension_is_taken_too(tmp_path: Path) -> None:
    """1TD is the default, as TRIDENT's and MIL-Lab's networks have it."""
    an_encoder(tmp_path / "colours", tissue_only=False)
    folder = a_head(tmp_path / "head", AttentionPooling(), bag="1TD")
    slide = a_slide(tmp_path / "a.svs", a_picture(200, 130), levels=(1,))
    scan(loaded(settings_of(folder)), slide, tmp_path / "out", 1, Listener())
    told = json.loads((tmp_path / "out" / "1" / "results.json").read_bytes())
    assert told["summary"]["class"] in ("LUAD", "LUSC")
    assert sum(told["summary"]["probabilities"].values()) == pytest.approx(1)
