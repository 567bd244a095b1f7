"""model.json: which keys there are, what each one makes of the card, and how a wrong one is told."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.orders.algorithm_card import AlgorithmCard
from broker.settings.config import AlgorithmSettings, ConfigError
from tests.support.networks import a_config
from tests.support.paths import ROOT
from worker.algorithms import registry
from worker.algorithms.model_folder.model_file import json_schema
from worker.algorithms.model_folder.reading import read_folder, watched_files

TILES: dict[str, Any] = {"slidelane": 1, "mpp": 0.5, "input_px": 224, "classes": ["a", "b"]}
MASK = TILES | {"output": "mask", "classes": [{"name": "rest", "background": True}, "gland"]}
CENTRES = TILES | {"output": "objects", "style": "centres", "input_px": 512}
EMBEDDINGS = {"slidelane": 1, "output": "embeddings", "mpp": 0.5, "input_px": 224}
SLIDE = {"slidelane": 1, "output": "slide", "encoder": "uni", "classes": ["LUAD", "LUSC"]}


def a_folder(folder: Path, description: Any, name: str = "model.json") -> Path:
    """A folder whose network is never loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torchscript_model.pt").write_bytes(b"network")
    text = description
    if not isinstance(description, str):
        text = json.dumps(description)
    (folder / name).write_text(text)
    return folder


def card_of(folder: Path, **settings: Any) -> AlgorithmCard:
    return registry.card("net", AlgorithmSettings(kind="weights", folder=folder, **settings))


def refusal(folder: Path, **settings: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        card_of(folder, **settings)
    return str(refused.value)


def test_a_short_description_makes_a_card(tmp_path: Path) -> None:
    """Everything that is not stated has the default of the page."""
    card = card_of(a_folder(tmp_path / "m", TILES))
    assert (card.output, card.mpp, card.tile_px, card.halo_px) == ("tiles", 0.5, 224, 0)
    assert (card.overlap_px, card.tissue_only, card.ruo) == (0, True, True)
    assert (card.mpp_tolerance, card.time_limit_s, card.stall_limit_s) == (1.25, 7200, 300)
    assert card.report == {"type": "Basic"}
    assert [(one.name, one.label, one.annotation_type) for one in card.classes] == [
        ("a", "a", "a"),
        ("b", "b", "b"),
    ]
    assert card.title == "network: a, b"
    assert card.version == card.digest[:12]


def test_what_is_stated_is_on_the_card(tmp_path: Path) -> None:
    """Each key of every output."""
    stated = {
        "title": "Glands", "description": "Outlines glands.", "version": "3.1", "stains": ["H&E"],
        "ruo": False, "license": "CC0", "citation": "Nobody 2026", "url": "https://a.example",
        "authors": ["A", "B"], "mpp_tolerance": 1.5, "halo_px": 32, "overlap_px": 16,
        "tissue_only": False, "time_limit_s": 60, "stall_limit_s": 30,
        "classes": [
            {"name": "rest", "background": True},
            {"name": "gland", "title": "Gland", "color": "#00AA11", "annotation_type": "G"},
        ],
        "report": {
            "type": "WholeSlideDifferential", "positive": "gland", "positivity_threshold": 0.3,
        },
        "x_note": {"of": "ours"},
    }  # fmt: skip
    card = card_of(a_folder(tmp_path / "m", MASK | stated))
    for key in set(stated) - {"x_note", "classes", "stains", "authors"}:
        assert getattr(card, key) == stated[key], key
    assert (card.stains, card.authors) == (("H&E",), ("A", "B"))
    assert card.tile_px == 224 - 2 * 32
    assert [one.background for one in card.classes] == [True, False]
    gland = card.classes[1]
    assert (gland.label, gland.color, gland.annotation_type) == ("Gland", "#00aa11", "G")


def test_model_json_wins_over_config_json(tmp_path: Path) -> None:
    """A broken config.json beside it is not even read."""
    folder = a_folder(tmp_path / "m", TILES)
    a_folder(folder, "{", "config.json")
    assert card_of(folder).tile_px == 224


def test_a_config_of_wsinfer_may_be_renamed(tmp_path: Path) -> None:
    """The card is the same but for its digest's file name, which counts for nothing."""
    renamed = card_of(a_folder(tmp_path / "a", a_config()))
    original = card_of(a_folder(tmp_path / "b", a_config(), "config.json"))
    assert renamed == original
    assert (renamed.mpp, renamed.tile_px) == (0.5, 64)


def test_unknown_keys_are_passed_over_in_config_json_alone(tmp_path: Path) -> None:
    """WSInfer's format allows them; in model.json a typo is the commonest fault."""
    card_of(a_folder(tmp_path / "a", a_config(name="x", thresold=1), "config.json"))
    assert "model.json: thresold: " in refusal(a_folder(tmp_path / "b", a_config(thresold=1)))


def test_the_keys_of_wsinfer_are_synonyms(tmp_path: Path) -> None:
    """They may stand in model.json, also beside ours where both say the same."""
    own = {
        "slidelane": 1,
        "spacing_um_px": 0.5,
        "patch_size_pixels": 224,
        "class_names": ["a", "b"],
    }
    model = read_folder("net", a_folder(tmp_path / "a", own)).model
    assert model.output == "tiles"
    assert (model.mpp, model.input_px) == (0.5, 224)
    both = own | {"mpp": 0.5, "input_px": 224, "num_classes": 2}
    card_of(a_folder(tmp_path / "b", both))
    assert "model.json: mpp: it is 0.25" in refusal(a_folder(tmp_path / "c", own | {"mpp": 0.25}))
    assert "input_px: it is 512" in refusal(a_folder(tmp_path / "d", own | {"input_px": 512}))


WRONG: list[tuple[Any, str]] = [
    ("[]", "a JSON object is needed"),
    ("{", ""),
    ('"' + "a" * 10**6 + '"', "larger than 1000000 bytes"),
    ("[" * 100_000, ""),
    (TILES | {"slidelane": 2}, "slidelane: "),
    ({"mpp": 1, "input_px": 224, "classes": ["a"]}, "slidelane: 1 is needed"),
    (TILES | {"spec_version": "2.0"}, "spec_version: "),
    (TILES | {"output": "video"}, "output: one of tiles, mask"),
    (TILES | {"output": ["tiles"]}, "output: one of tiles, mask"),
    (TILES | {"halo": 3}, "halo: there is no such key"),
    (TILES | {"style": "labels"}, "style: there is no such key"),
    (TILES | {"mpp": 0}, "mpp: "),
    (TILES | {"mpp": 101}, "mpp: "),
    (TILES | {"mpp": None}, "mpp: "),
    ({"slidelane": 1, "input_px": 224, "classes": ["a"]}, "mpp: Field required"),
    ({"slidelane": 1, "mpp": 1, "classes": ["a"]}, "input_px: Field required"),
    (TILES | {"mpp_tolerance": 0.9}, "mpp_tolerance: "),
    (TILES | {"input_px": 31}, "input_px: "),
    (TILES | {"input_px": 4097}, "input_px: "),
    (TILES | {"halo_px": 112}, "halo_px: twice 112 px leave nothing"),
    (TILES | {"halo_px": -1}, "halo_px: "),
    (TILES | {"overlap_px": 224}, "overlap_px: it must be less than the core of 224"),
    (CENTRES | {"overlap_px": 8}, "overlap_px: it must be 0 for objects"),
    (CENTRES | {"input_px": 160}, "halo_px: twice 80 px"),
    (TILES | {"channels": "gbr"}, "channels: "),
    (TILES | {"layout": "HWC"}, "layout: "),
    (TILES | {"scale": "percent"}, "scale: "),
    (TILES | {"scale": "uint8", "normalize": {"mean": [0] * 3, "std": [1] * 3}}, "normalize: "),
    (TILES | {"normalize": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, "normalize: a std of 0"),
    (TILES | {"normalize": {"mean": [0, 0], "std": [1, 1, 1]}}, "normalize.mean"),
    (TILES | {"normalize": {"percentiles": [50, 50]}}, "normalize: percentiles: "),
    (TILES | {"normalize": {"percentiles": [1, 99], "clip": [1, 0]}}, "normalize: clip: "),
    (TILES | {"dtype": "float64"}, "dtype: "),
    (TILES | {"batch": 0}, "batch: "),
    (TILES | {"activation": "relu"}, "activation: "),
    (TILES | {"activation": "sigmoid"}, "activation: sigmoid does not fit 2 classes"),
    (TILES | {"classes": ["a"], "activation": "softmax"}, "activation: softmax does not fit 1"),
    (TILES | {"multi_label": True, "activation": "softmax"}, "activation: softmax does not fit"),
    (TILES | {"outputs": {"heat": 0}}, "outputs.heat: the roles of tiles are: logits"),
    (TILES | {"outputs": {}}, "outputs.logits: it is needed"),
    (TILES | {"outputs": {"logits": -1}}, "outputs.logits"),
    (TILES | {"outputs": {"logits": True}}, "outputs.logits"),
    (TILES | {"classes": []}, "classes: at least one"),
    (TILES | {"classes": ["a", "a"]}, "classes: two have the same name"),
    (TILES | {"classes": ["a", ""]}, "classes.1"),
    (TILES | {"classes": [{"name": "a", "colour": "#ffffff"}]}, "classes.0.colour"),
    (TILES | {"classes": [{"name": "a", "color": "red"}]}, "classes.0.color"),
    (TILES | {"classes": [{"name": "a", "annotation_type": ""}]}, "classes.0.annotation_type"),
    (
        TILES | {"classes": [{"name": one, "background": True} for one in "ab"]},
        "classes: at most one may be the background",
    ),
    (TILES | {"class_names": ["a", "b"]}, "class_names: they stand beside"),
    (TILES | {"num_classes": 3}, "num_classes: "),
    (TILES | {"stains": ["H&EE"]}, "stains: no stain 'H&EE' is known"),
    (TILES | {"threshold": 2}, "threshold: "),
    (TILES | {"smooth": 6}, "smooth: "),
    (TILES | {"parameters": ["mpp"]}, "parameters: no key 'mpp' can be set by an order"),
    (TILES | {"report": {"type": "basic"}}, "report.type: Input tag 'basic'"),
    (TILES | {"report": {}}, "report.type: "),
    (TILES | {"report": {"type": "RegionCounting"}}, "report.type: RegionCounting goes with"),
    (TILES | {"report": {"type": "Basic", "tumor": ["a"]}}, "report.tumor: there is no such key"),
    (MASK | {"report": {"type": "TumorCellularity"}}, "report.tumor: Field required"),
    (
        MASK | {"report": {"type": "TumorCellularity", "tumor": ["c"]}},
        "report.tumor: there is no class 'c'",
    ),
    (CENTRES | {"report": {"type": "AiMitosisCounting"}}, "report.mitosis: Field required"),
    (TILES | {"title": ""}, "title: "),
    (TILES | {"title": "a" * 201}, "title: "),
    (TILES | {"time_limit_s": 0}, "time_limit_s: "),
    (CENTRES | {"style": None}, "style: "),
    (CENTRES | {"style": "hover"}, "python"),
    (CENTRES | {"style": "rays"}, "style: rays needs"),
    (CENTRES | {"style": "labels", "layers": ["c"]}, "layers: there is no class 'c'"),
    (EMBEDDINGS | {"classes": ["a"]}, "classes: a network that answers embeddings has none"),
    (EMBEDDINGS | {"activation": "softmax"}, "activation: "),
    (EMBEDDINGS | {"pool": "max"}, "pool: "),
    (SLIDE | {"mpp": 0.5}, "mpp: there is no such key"),
    (SLIDE | {"encoder": "nowhere"}, "encoder: there is no folder 'nowhere'"),
    (SLIDE | {"encoder": "."}, "encoder: a folder inside this one or beside it"),
    (SLIDE | {"encoder": "../../../etc"}, "encoder: a folder inside this one or beside it"),
    (TILES | {"file": "../m/torchscript_model.pt"}, "file: a name inside of the folder"),
    (TILES | {"file": "/etc/passwd"}, "file: a name inside of the folder"),
    (TILES | {"file": "a\0b"}, "file: a name inside of the folder"),
    (TILES | {"file": "net.pt"}, "file: there is no file 'net.pt'"),
    (TILES | {"sha256": "0" * 63}, "sha256: "),
    (TILES | {"sha256": "0" * 64}, "sha256: torchscript_model.pt has the SHA-256"),
]


@pytest.mark.parametrize(("description", "message"), WRONG)
def test_a_wrong_key_is_named(tmp_path: Path, description: Any, message: str) -> None:
    """With algorithm, file and key, and never with more than a line."""
    told = refusal(a_folder(tmp_path / "m", description))
    assert told.startswith("worker.algorithms.net: model.json: ")
    assert message in told
    assert len(told) < 600


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Named or not; a folder that is a link itself is what people change versions with."""
    folder = a_folder(tmp_path / "m", TILES)
    (folder / "torchscript_model.pt").rename(tmp_path / "other.pt")
    (folder / "torchscript_model.pt").symlink_to(tmp_path / "other.pt")
    assert "file: torchscript_model.pt is a link that leads out" in refusal(folder)
    (folder / "torchscript_model.pt").unlink()
    (folder / "net.pt").symlink_to(tmp_path / "other.pt")
    a_folder(tmp_path / "named", TILES | {"file": "net.pt"})
    (tmp_path / "named" / "net.pt").symlink_to(tmp_path / "other.pt")
    assert "file: net.pt is a link that leads out" in refusal(tmp_path / "named")
    inside = a_folder(tmp_path / "inside", TILES | {"file": "net.pt"})
    (inside / "net.pt").symlink_to("torchscript_model.pt")
    (tmp_path / "current").symlink_to(inside)
    card_of(tmp_path / "current")


def test_a_pipe_in_place_of_a_description_is_not_read(tmp_path: Path) -> None:
    """It would be waited for without end."""
    folder = a_folder(tmp_path / "m", TILES)
    (folder / "model.json").unlink()
    os.mkfifo(folder / "model.json")
    assert "model.json: No such file" in refusal(folder)


def test_the_digest_is_that_of_description_and_network(tmp_path: Path) -> None:
    """Anybody can compute it; of a network for slides the encoder's counts too."""
    folder = a_folder(tmp_path / "m", TILES)
    content = (folder / "model.json").read_bytes() + b"network"
    assert card_of(folder).digest == hashlib.sha256(content).hexdigest()
    slide = a_folder(tmp_path / "slide", SLIDE | {"encoder": "../uni"})
    encoder = a_folder(tmp_path / "uni", EMBEDDINGS)
    before = card_of(slide)
    own = hashlib.sha256((slide / "model.json").read_bytes() + b"network").digest()
    theirs = hashlib.sha256((encoder / "model.json").read_bytes() + b"network").digest()
    assert before.digest == hashlib.sha256(own + theirs).hexdigest()
    assert (before.mpp, before.tile_px, before.encoder) == (0.5, 224, "uni")
    (encoder / "torchscript_model.pt").write_bytes(b"another one")
    assert card_of(slide).digest != before.digest
    a_folder(encoder, TILES)
    assert "model.json: encoder: its output must be embeddings" in refusal(slide)


def test_both_digests_are_compared(tmp_path: Path) -> None:
    """That of model.json and that of the settings; the reason says which one it was."""
    right = hashlib.sha256(b"network").hexdigest()
    folder = a_folder(tmp_path / "m", TILES | {"sha256": right.upper()})
    card_of(folder, sha256=right)
    assert "net: config: sha256: torchscript_model.pt has" in refusal(folder, sha256="0" * 64)
    (folder / "torchscript_model.pt").write_bytes(b"another one")
    assert "net: model.json: sha256: torchscript_model.pt has" in refusal(folder)


def test_a_named_file_and_an_encoder_are_watched(tmp_path: Path) -> None:
    """A change of either changes the algorithm."""
    folder = a_folder(tmp_path / "m", SLIDE | {"encoder": "../uni", "file": "head.ts"})
    watched = {file.resolve() for file in watched_files(folder)}
    assert {folder / "head.ts", tmp_path / "uni" / "torchscript_model.pt"} <= watched
    assert {folder / "model.json", folder / "config.json"} <= watched
    (folder / "model.json").write_text("{")
    assert folder / "model.json" in watched_files(folder)


@pytest.mark.parametrize(
    ("description", "halo_px"),
    [
        (TILES, 0),
        (TILES | {"halo_px": 16}, 16),
        (MASK | {"input_px": 512}, 64),
        (MASK | {"input_px": 100}, 8),
        (MASK | {"input_px": 32}, 0),
        (CENTRES, 80),
        (CENTRES | {"halo_px": 32}, 32),
        (EMBEDDINGS, 0),
    ],
)
def test_the_halo_depends_on_the_output(
    tmp_path: Path, description: dict[str, Any], halo_px: int
) -> None:
    """The tile of the card is the core."""
    card = card_of(a_folder(tmp_path / "m", description))
    assert (card.halo_px, card.tile_px) == (halo_px, description["input_px"] - 2 * halo_px)


def test_orders_may_set_the_numbers_of_the_output(tmp_path: Path) -> None:
    """With the default of model.json, limits, title and unit; `parameters` chooses among them."""
    mask = MASK | {"min_area_um2": 500, "simplify_um": 1}
    schema = card_of(a_folder(tmp_path / "a", mask)).parameters
    properties = schema["properties"]
    assert set(properties) == {"threshold", "min_area_um2", "fill_holes_um2", "simplify_um"}
    area = properties["min_area_um2"]
    assert (area["default"], area["minimum"], area["maximum"]) == (500, 0, 1e9)
    assert (area["title"], area["unit"]) == ("Smallest area", "um2")
    assert properties["simplify_um"]["unit"] == "um"
    assert properties["threshold"]["default"] is None
    chosen = TILES | {"parameters": ["keep_background"], "keep_background": False}
    properties = card_of(a_folder(tmp_path / "b", chosen)).parameters["properties"]
    assert list(properties) == ["keep_background"]
    assert properties["keep_background"]["default"] is False
    none = card_of(a_folder(tmp_path / "c", TILES | {"parameters": [], "stains": ["H&E"]}))
    assert list(none.parameters["properties"]) == ["on_stain_mismatch"]


def test_the_published_schema_is_that_of_the_classes() -> None:
    """`python -m worker.algorithms.model_folder > slidelane/model.schema.json` makes it anew."""
    published = json.loads((ROOT / "slidelane" / "model.schema.json").read_bytes())
    assert published == json_schema()
    Draft202012Validator.check_schema(published)


@pytest.mark.parametrize("right", [TILES, MASK, CENTRES, EMBEDDINGS, SLIDE, a_config()])
def test_the_published_schema_takes_what_is_read(right: dict[str, Any]) -> None:
    """Also with keys of the author's own, and never with a typo."""
    schema = Draft202012Validator(json_schema())
    document = json.loads(json.dumps(right))
    assert schema.is_valid(document)
    assert schema.is_valid(document | {"x_mine": [1]})
    assert not schema.is_valid(document | {"thresold": 1})
