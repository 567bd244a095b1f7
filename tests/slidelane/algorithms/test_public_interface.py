"""`slidelane.algorithms`: it is a leaf, its cards are checked, and so is every kind of answer."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slidelane.algorithms import (
    API_VERSION,
    AnswerError,
    Card,
    CardError,
    Class,
    Found,
    Parameter,
    Result,
    check_answer,
    load_card,
)
from slidelane.algorithms.card import check_card
from slidelane.algorithms.load import POST_KEYS
from tests.support.paths import ROOT
from worker.algorithms.model_folder.model_file import MODELS

CLASSES = (Class("tumor", "#d55e00", annotation_type="tumor_region"), Class("stroma"))
TILES = Card("t", "tiles", CLASSES, mpp=0.5)
MASK = Card("m", "mask", CLASSES, mpp=0.5, input_px=64, halo_px=8)
OBJECTS = Card("o", "objects", CLASSES, mpp=0.5)
MEASURED = Card("o", "objects", CLASSES, mpp=0.5, measurements=("a",))
VECTORS = Card("e", "embeddings", mpp=0.5)
RING = [[0, 0], [4, 0], [4, 4], [0, 0]]


def feature(geometry: Any = None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": geometry or {"type": "Polygon", "coordinates": [RING]},
        "properties": properties or {"classification": {"name": "tumor"}},
    }


def test_it_imports_the_standard_library_only() -> None:
    """Importing loads neither numpy, torch nor pydantic, and nothing else of ours."""
    code = (
        "import sys; import slidelane.algorithms\n"
        "ours = ('broker', 'worker', 'services')\n"
        "others = {m.partition('.')[0] for m in sys.modules} & {'numpy','torch','pydantic',*ours}\n"
        "mine = {m for m in sys.modules if m.startswith('slidelane')}\n"
        "assert not others, others\n"
        "assert all(m.startswith('slidelane.algorithms') or m == 'slidelane' for m in mine), mine\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)
    assert API_VERSION == "1"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"title": ""}, "title: "),
        ({"output": "masks"}, "output: there is no 'masks'"),
        ({"mpp": 0.0}, "mpp: 0.0"),
        ({"input_px": 8}, "input_px: 8"),
        ({"halo_px": 256}, "halo_px: twice 256"),
        ({"overlap_px": 512}, "overlap_px: 512"),
        ({"batch": True}, "batch: True"),
        ({"classes": ("tumor",)}, r"classes\[0\]: 'tumor' is no Class"),
        ({"classes": (Class("a"), Class("a"))}, r"classes\[1\].name: 'a' is there twice"),
        ({"classes": (Class("a", "red"),)}, r"classes\[0\].color: 'red'"),
        (
            {"classes": (Class("a", background=True), Class("b", background=True))},
            "classes: only one",
        ),
        ({"parameters": (Parameter("a b", 1),)}, r"parameters\[0\].name"),
        (
            {"parameters": (Parameter("a", 3, maximum=2),)},
            r"parameters\[0\].default: 3 is above the maximum",
        ),
        (
            {"parameters": (Parameter("a", "x", choices=("y",)),)},
            r"parameters\[0\].default: .x. is none of its choices",
        ),
    ],
)
def test_a_card_that_cannot_work_names_the_field(changed: dict[str, Any], message: str) -> None:
    """Every field has its message, which begins with the field."""
    with pytest.raises(CardError, match=f"^{message}"):
        check_card(Card(**{"title": "t", "output": "objects", **changed}))


@pytest.mark.parametrize(
    ("card", "answer"),
    [
        (TILES, np.array([[0.2, 0.8], [1, 0]], np.float32)),
        (TILES, torch.tensor([[0.2, 0.8], [1, 0]])),
        (MASK, np.zeros((2, 64, 64), np.uint8)),
        (MASK, np.full((2, 2, 48, 48), 0.5)),
        (OBJECTS, [[Found(1, 2, "tumor")], ()]),
        (MEASURED, [[], [Found(1.5, 2, np.int64(1), np.float32(0.5), np.zeros((3, 2)), {"a": 1})]]),
        (VECTORS, np.zeros((2, 7), np.float16)),
    ],
)
def test_right_answers_for_tiles_pass(card: Card, answer: Any) -> None:
    """Arrays, CPU tensors and lists of Found are taken, in every shape that is documented."""
    check_answer(card, answer, 2)


@pytest.mark.parametrize(
    ("card", "answer", "message"),
    [
        (TILES, None, "answer: classify returned nothing"),
        (TILES, [[0.2, 0.8]] * 2, "answer: a list is no array"),
        (TILES, np.zeros((2, 3)), r"answer: its shape is \(2, 3\); 2 tiles and 2 classes"),
        (TILES, np.zeros((2, 2), int), "answer: its type is int64"),
        (TILES, np.array([[0, np.nan], [0, 1]]), "answer: it holds NaN or infinity"),
        (TILES, np.array([[0, 7.5], [0, 1]]), "answer: numbers from 0 to 7.5"),
        (TILES, torch.zeros(2, 2, dtype=torch.bfloat16), "answer: it does not turn into"),
        (MASK, np.full((2, 64, 64), 2), "answer: class numbers from 2 to 2; the card has 0 to 1"),
        (MASK, np.zeros((2, 3, 64, 64)), r"answer: its shape is \(2, 3, 64, 64\)"),
        (MASK, np.zeros((2, 63, 63), int), "answer: its shape .* leave an even number"),
        (MASK, np.zeros((2, 40, 40), int), "12 pixels on each side .* halo_px is 8"),
        (OBJECTS, [[]], "answer: a list of 1; one list of Found for each of 2"),
        (OBJECTS, [[], [1]], r"answer\[1\]\[0\]: a int is no Found"),
        (OBJECTS, [[], [Found(np.nan, 0, 0)]], r"answer\[1\]\[0\].x: nan is not finite"),
        (OBJECTS, [[], [Found(0, 0, 2)]], r"answer\[1\]\[0\].kind: class 2 of 2"),
        (OBJECTS, [[], [Found(0, 0, "fat")]], r"answer\[1\]\[0\].kind: 'fat' is no class"),
        (OBJECTS, [[], [Found(0, 0, 0, 1.5)]], r"answer\[1\]\[0\].score: 1.5 is no score"),
        (OBJECTS, [[], [Found(0, 0, 0, outline=[(0, 0)])]], r"answer\[1\]\[0\].outline: a ring"),
        (
            OBJECTS,
            [[], [Found(0, 0, 0, outline=[(0, 0), (1, np.inf), (1, 1)])]],
            r"answer\[1\]\[0\].outline\[1\]: inf is not finite",
        ),
        (
            OBJECTS,
            [[], [Found(0, 0, 0, measurements={"um": "x"})]],
            r"answer\[1\]\[0\].measurements\['um'\]: 'x' is no number",
        ),
        (MEASURED, [[], [Found(0, 0, 0)]], r"answer\[1\]\[0\].measurements: there are none"),
        (VECTORS, np.zeros((3, 7)), r"answer: its shape is \(3, 7\)"),
        (Card("r", "report"), np.zeros(2), "answer: nothing is classified tile by tile"),
    ],
)
def test_wrong_answers_for_tiles_name_the_place(card: Card, answer: Any, message: str) -> None:
    """Each wrong answer is refused with its place and what is wrong there."""
    with pytest.raises(AnswerError, match=f"^{message}|{message}"):
        check_answer(card, answer, 2)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "findings.geojson",
        Path("findings.json"),
        [Found(1, 2, "stroma")],
        feature(),
        [feature(classification="stroma"), feature(annotation_type="tumor_region")],
        {
            "type": "FeatureCollection",
            "features": [feature({"type": "Point", "coordinates": [1, 2]})],
        },
        feature({"type": "MultiPolygon", "coordinates": [[RING], [RING, RING]]}),
        feature(classification="tumor", measurements={"a": 1}),
        feature(classification="tumor", measurements=[{"name": "a", "value": 1}]),
        {
            "scanResults": [
                {"scanId": "x", "geojson": {"type": "FeatureCollection", "features": []}}
            ]
        },
        Result(objects=[Found(1, 2, 0)], summary={"n": 1}, warnings=[("a", "b")]),
    ],
)
def test_right_answers_for_an_image_pass(answer: Any) -> None:
    """All four kinds of answers are taken."""
    check_answer(OBJECTS, answer, 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"answer: process_image returned nothing; return \[\] for no findings"),
        (7, "answer: a int is no result"),
        ({}, "answer: a dictionary is a FeatureCollection"),
        ({"scanResults": []}, "scanResults: a list with the one scan"),
        (
            [feature()] * 17 + [feature({"type": "Polygon", "coordinates": [[*RING[:3], [1, 1]]]})],
            r"features\[17\].geometry.coordinates\[0\]: ring is not closed",
        ),
        (feature({"type": "LineString"}), r"features\[0\].geometry.type: 'LineString'"),
        (
            feature({"type": "Polygon", "coordinates": [[[0, 0], [1, float("nan")]]]}),
            r"features\[0\].geometry.coordinates\[0\]\[1\]: it is no point",
        ),
        (feature(classification="fat"), r"features\[0\].properties: 'fat' is no class"),
        (feature(name="x"), r"features\[0\].properties: there is neither"),
        (
            feature(classification="tumor", measurements={"a": "b"}),
            r"features\[0\].properties.measurements\['a'\]: 'b'",
        ),
        (Result(summary={"a": float("inf")}), "summary: it is not fit for JSON"),
        (Result(objects=[Found(1, 2, 9)]), r"objects\[0\].kind: class 9 of 2"),
    ],
)
def test_wrong_answers_for_an_image_name_the_place(answer: Any, message: str) -> None:
    """The place is that in GeoJSON, in a Result, or in Techcyte's body."""
    with pytest.raises(AnswerError, match=f"^{message}"):
        check_answer(OBJECTS, answer, 0)


def test_a_card_is_read_from_a_file_or_a_folder(tmp_path: Path) -> None:
    """From Python by name, from a folder, and from model.json; what is missing is said."""
    file = tmp_path / "algorithm.py"
    file.write_text(
        "from slidelane.algorithms import Card\n"
        "class Algorithm:\n    card = Card('Own', 'tiles')\n"
        "def process_image(path, context): return []\n"
        "CARD = Card('Module', 'objects')\n"
    )
    assert load_card(tmp_path).title == "Own"
    assert load_card(f"{file}:process_image").title == "Module"
    with pytest.raises(CardError, match="absent"):
        load_card(f"{file}:absent")
    model = tmp_path / "model.json"
    model.write_text('{"title": "Net", "output": "mask", "classes": ["a", {"name": "b"}]}')
    assert load_card(model).classes == (Class("a"), Class("b"))


def test_a_card_of_a_model_folder_says_what_the_worker_says(tmp_path: Path) -> None:
    """Defaults by output, null for a default, WSInfer's keys, and the keys of the output."""
    glands = {
        "slidelane": 1, "output": "mask", "mpp": 1.0, "input_px": 500, "halo_px": None, "batch": 2,
        "classes": [{"name": "gland", "color": None}], "tissue_only": False, "ruo": False,
        "min_area_um2": 500, "report": {"type": "TumorCellularity", "tumor": ["gland"]},
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(glands))
    card = load_card(tmp_path)
    assert (card.halo_px, card.batch, card.tissue_only, card.ruo) == (56, 2, False, False)
    assert (card.post, card.report) == ({"min_area_um2": 500}, glands["report"])
    check_card(card)
    wsinfer = {
        "spec_version": "1.0", "num_classes": 1, "class_names": ["a"], "spacing_um_px": 0.25,
        "patch_size_pixels": 350, "transform": [{"name": "Resize", "arguments": {"size": 224}}],
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps(wsinfer))
    card = load_card(tmp_path)
    assert (card.input_px, card.halo_px, card.mpp) == (224, 0, pytest.approx(0.390625))


def test_the_keys_of_an_output_are_those_of_the_worker() -> None:
    """All that model.json has for any output."""
    assert set(POST_KEYS) == {key for model in MODELS.values() for key in section(model)}


def section(model: Any) -> list[str]:
    """The keys of the output's own section."""
    (own,) = [base for base in model.__bases__ if base.__name__.endswith("Settings")]
    return list(own.model_fields)


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    """As in a worker; and a class may make its card when it is made."""
    (tmp_path / "audit_neighbour.py").write_text("TITLE = 'of a neighbour'")
    (tmp_path / "own.py").write_text(
        "from slidelane.algorithms import Card\nimport audit_neighbour\n"
        "class Algorithm:\n    def __init__(self):\n"
        "        self.card = Card(audit_neighbour.TITLE, 'objects')\n"
    )
    assert load_card(tmp_path / "own.py").title == "of a neighbour"
