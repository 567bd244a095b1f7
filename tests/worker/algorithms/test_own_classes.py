"""What a site states of an algorithm in its settings: titles, colours, annotation types."""

from pathlib import Path
from typing import Any

import pytest

from broker.settings.config import AlgorithmSettings, ConfigError
from slidelane.algorithms import Class
from tests.support.networks import Layers, a_model
from worker.algorithms import registry
from worker.algorithms.model_folder.card import weights_card
from worker.algorithms.own_classes import class_cards, distinct_colors
from worker.algorithms.python.api_card import PALETTE

OWN: dict[str, Any] = {
    "title": "Ours",
    "description": "As we call it.",
    "titles": {"positive": "brown"},
    "colors": {"negative": "#0000FF"},
    "annotation_types": {"positive": "ours_positive"},
}


def test_the_card_says_what_the_site_states() -> None:
    """For each kind of algorithm; what is not stated stays."""
    card = registry.card("ki67", AlgorithmSettings.model_validate({"kind": "ki67"} | OWN))
    assert (card.title, card.description) == ("Ours", "As we call it.")
    negative, positive = card.classes
    assert (negative.label, negative.color, negative.annotation_type) == (
        "Negative",
        "#0000ff",
        "ki67_negative",
    )
    assert (positive.label, positive.color, positive.annotation_type) == (
        "brown",
        "#ffe600",
        "ours_positive",
    )
    assert card.digest == registry.card("ki67", AlgorithmSettings(kind="ki67")).digest


def test_a_network_is_described_by_the_site_too(tmp_path: Path) -> None:
    """Stains of the settings replace those of model.json."""
    folder = a_model(tmp_path / "m", Layers(), stains=["H&E"])
    entry = {"kind": "weights", "folder": folder, "titles": {"tumour": "Tumor"}, "stains": []}
    card = registry.card("net", AlgorithmSettings.model_validate(entry))
    assert card.classes[1].label == "Tumor"
    assert card.stains == ()
    assert "on_stain_mismatch" not in card.parameters["properties"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"titles": {"brown": "x"}}, "titles.brown: there is no such class; there are: negative"),
        ({"colors": {"brown": "#ffffff"}}, "colors.brown: there is no such class"),
        ({"annotation_types": {"brown": "x"}}, "annotation_types.brown: there is no such class"),
        ({"colors": {"positive": "red"}}, "colors.positive: a colour is #rrggbb"),
        ({"annotation_types": {"positive": ""}}, "annotation_types.positive: 1 to 200 characters"),
        ({"titles": {"positive": "x" * 201}}, "titles.positive: 1 to 200 characters"),
    ],
)
def test_a_wrong_one_disables_that_algorithm_alone(own: dict[str, Any], message: str) -> None:
    """The key is named."""
    entries = {
        "ki67": AlgorithmSettings.model_validate({"kind": "ki67"} | own),
        "grid": AlgorithmSettings(kind="grid"),
    }
    with pytest.raises(ConfigError, match=f"^worker.algorithms.ki67: config: {message}"):
        registry.card("ki67", entries["ki67"])
    assert list(registry.cards_without_model(entries)) == ["grid"]


@pytest.mark.parametrize(
    ("stated", "colors"),
    [
        ([None, None], ["#000001", "#000002"]),
        ([None, None, "#000002"], ["#000001", "#000003", "#000002"]),
        (["#000003", None, None], ["#000003", "#000002", "#000001"]),
        ([None] * 4, ["#000001", "#000002", "#000003", "#000001"]),
        (["#ABCDEF", None], ["#abcdef", "#000002"]),
    ],
)
def test_no_class_gets_the_colour_that_another_one_states(
    stated: list[str | None], colors: list[str]
) -> None:
    """Only more classes than there are colours make two alike."""
    assert distinct_colors(stated, ("#000001", "#000002", "#000003")) == colors


def test_classes_of_networks_and_of_code_are_told_apart(tmp_path: Path) -> None:
    """Where one states the colour that another one would have got."""
    classes = ["rest", "stroma", {"name": "tumour", "color": "#D55E00"}]
    folder = a_model(tmp_path / "m", Layers(), classes=classes)
    card = weights_card("m", AlgorithmSettings(kind="weights", folder=folder))
    assert len({one.color for one in card.classes}) == 3
    taken = PALETTE[1].upper()
    coded = class_cards((Class("rest"), Class("stroma"), Class("tumour", taken)), PALETTE)
    assert len({one.color for one in coded}) == 3
